"""A small builder of ONNX graphs: nodes in order, constants as initialisers, one output name per node."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


class Graph:
    """Collects nodes; operands are value names (str) or numpy constants."""

    def __init__(self):
        self._nodes = []
        self._initialisers = []

    def add(self, op, *operands, output=None, **attributes):
        """Append one node and return the name of its output."""
        name = output or f"v{len(self._nodes)}"
        inputs = [x if isinstance(x, str) else self._constant(x) for x in operands]
        self._nodes.append(helper.make_node(op, inputs, [name], name=f"{op}_{len(self._nodes)}", **attributes))
        return name

    def write(self, path, inputs, outputs, doc):
        """Check and write the model. `inputs` and `outputs` are lists of (name, shape); "N" is the free batch dimension."""
        infos = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in side] for side in (inputs, outputs)]
        graph = helper.make_graph(self._nodes, path.stem, *infos, self._initialisers)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="visavis", doc_string=doc
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))

    def _constant(self, array):
        name = f"c{len(self._initialisers)}"
        self._initialisers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def same_padding(size, kernel, stride, dilation=1):
    """TensorFlow's SAME padding along one axis: (before, after), the odd pixel goes after."""
    span = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
    return total // 2, total - total // 2

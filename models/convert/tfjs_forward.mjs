// Runs faceres by TensorFlow.js (pure JavaScript): the source runtime that the ONNX conversion is proved against.
//
//   npm install @tensorflow/tfjs@4.22.0
//   node tfjs_forward.mjs faceres.json faceres.bin < images.f32 > embeddings.f32
//
// Input: any number of 224 x 224 x 3 images, f32, BGR minus the mean. Output: 1024 f32 for each.
import { readFileSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

// the package is looked for in the working folder, not beside this file
const tf = createRequire(join(process.cwd(), "/"))("@tensorflow/tfjs");

const SIDE = 224;

const [topologyPath, weightsPath] = process.argv.slice(2);
const description = JSON.parse(readFileSync(topologyPath, "utf8"));
const weights = readFileSync(weightsPath);
const artifacts = {
  modelTopology: description.modelTopology,
  signature: description.signature,
  weightSpecs: description.weightsManifest.flatMap((group) => group.weights),
  weightData: new Uint8Array(weights).buffer,
};

await tf.setBackend("cpu");
const model = await tf.loadGraphModel(tf.io.fromMemory(artifacts));
const bytes = new Uint8Array(readFileSync(0));
const images = new Float32Array(bytes.buffer);
const size = SIDE * SIDE * 3;
for (let at = 0; at < images.length; at += size) {
  const image = tf.tensor4d(images.slice(at, at + size), [1, SIDE, SIDE, 3]);
  const embedding = model.execute(image, "global_pooling/Mean").dataSync();
  writeSync(1, Buffer.from(Float32Array.from(embedding).buffer));
}

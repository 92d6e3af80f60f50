// Runs dlib's own face recognition network on raw chips: the source runtime that the ONNX conversion is proved against.
//
//   g++ -O2 -std=c++14 -DDLIB_NO_GUI_SUPPORT -I dlib-20.0.1 dlib_forward.cpp dlib-20.0.1/dlib/all/source.cpp -lpthread -o dlib_forward
//   dlib_forward dlib_face_recognition_resnet_model_v1.dat < chips.rgb > embeddings.f32
//
// Input: any number of 150 x 150 chips, 8-bit RGB, rows from the top. Output: 128 little-endian f32 for each.
#include <cstdio>
#include <vector>

#include <dlib/dnn.h>

using namespace dlib;

template <int N, template <typename> class BN, int stride, typename SUBNET>
using block = BN<con<N, 3, 3, 1, 1, relu<BN<con<N, 3, 3, stride, stride, SUBNET>>>>>;
template <template <int, template <typename> class, int, typename> class B, int N, template <typename> class BN, typename SUBNET>
using residual = add_prev1<B<N, BN, 1, tag1<SUBNET>>>;
template <template <int, template <typename> class, int, typename> class B, int N, template <typename> class BN, typename SUBNET>
using residual_down = add_prev2<avg_pool<2, 2, 2, 2, skip1<tag2<B<N, BN, 2, tag1<SUBNET>>>>>>;
template <int N, typename SUBNET> using same = relu<residual<block, N, affine, SUBNET>>;
template <int N, typename SUBNET> using down = relu<residual_down<block, N, affine, SUBNET>>;

template <typename SUBNET> using level0 = down<256, SUBNET>;
template <typename SUBNET> using level1 = same<256, same<256, down<256, SUBNET>>>;
template <typename SUBNET> using level2 = same<128, same<128, down<128, SUBNET>>>;
template <typename SUBNET> using level3 = same<64, same<64, same<64, down<64, SUBNET>>>>;
template <typename SUBNET> using level4 = same<32, same<32, same<32, SUBNET>>>;

using network = loss_metric<fc_no_bias<128, avg_pool_everything<level0<level1<level2<level3<level4<
    max_pool<3, 3, 2, 2, relu<affine<con<32, 7, 7, 2, 2, input_rgb_image_sized<150>>>>>>>>>>>>>;

int main(int argc, char** argv)
{
    if (argc != 2)
        return 2;
    network net;
    deserialize(argv[1]) >> net;
    std::vector<unsigned char> bytes(150 * 150 * 3);
    while (std::fread(bytes.data(), 1, bytes.size(), stdin) == bytes.size()) {
        matrix<rgb_pixel> chip(150, 150);
        for (long y = 0; y < 150; ++y)
            for (long x = 0; x < 150; ++x) {
                const unsigned char* p = &bytes[3 * (y * 150 + x)];
                chip(y, x) = rgb_pixel(p[0], p[1], p[2]);
            }
        matrix<float, 0, 1> embedding = net(chip);
        std::vector<float> row(embedding.begin(), embedding.end());
        std::fwrite(row.data(), sizeof(float), row.size(), stdout);
    }
    return 0;
}

// Colour in AVX2: the same integers as in colour.cpp, 16 pixels of YUV and 4 of RGB at a time.
#include "colour.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

namespace hasten {
namespace {

constexpr int kBits = 13;

// What every pixel of a conversion needs.
struct Factors {
    __m256i y_zero, red, green_v, green_u, blue;  // pairs: of Y and V, Y and V, 0 and U, Y and U
};

[[gnu::target("avx2"), gnu::always_inline]] inline __m256i pair(int first, int second) {
    return _mm256_set1_epi32(static_cast<int>((first & 0xffff) | (static_cast<unsigned>(second) << 16)));
}

[[gnu::target("avx2"), gnu::always_inline]] inline __m128i load(const std::uint8_t* bytes) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

[[gnu::target("avx2"), gnu::always_inline]] inline __m128i load_half(const std::uint8_t* bytes) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
}

// 8 chroma samples, each twice, in 16 bits and less 128.
[[gnu::target("avx2"), gnu::always_inline]] inline __m256i chroma(__m128i samples) {
    return _mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(samples, samples)), _mm256_set1_epi16(128));
}

// 16 sums -> 16 levels.
[[gnu::target("avx2"), gnu::always_inline]] inline __m128i levels(__m256i sum0, __m256i sum1) {
    const __m256i half = _mm256_set1_epi32(1 << (kBits - 1));
    __m256i value = _mm256_packs_epi32(_mm256_srai_epi32(_mm256_add_epi32(sum0, half), kBits),
                                       _mm256_srai_epi32(_mm256_add_epi32(sum1, half), kBits));
    return _mm_packus_epi16(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
}

// 16 bytes of each of three channels -> 48 interleaved ones.
[[gnu::target("avx2"), gnu::always_inline]] inline void interleave(__m128i a, __m128i b, __m128i c, std::uint8_t* out) {
    const __m128i a0 = _mm_setr_epi8(0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1, 5);
    const __m128i b0 = _mm_setr_epi8(-1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1);
    const __m128i c0 = _mm_setr_epi8(-1, -1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1);
    const __m128i a1 = _mm_setr_epi8(-1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10, -1);
    const __m128i b1 = _mm_setr_epi8(5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10);
    const __m128i c1 = _mm_setr_epi8(-1, 5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1);
    const __m128i a2 = _mm_setr_epi8(-1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1, -1);
    const __m128i b2 = _mm_setr_epi8(-1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1);
    const __m128i c2 = _mm_setr_epi8(10, -1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15);
    __m128i* to = reinterpret_cast<__m128i*>(out);
    _mm_storeu_si128(to, _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(a, a0), _mm_shuffle_epi8(b, b0)),
                                      _mm_shuffle_epi8(c, c0)));
    _mm_storeu_si128(to + 1, _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(a, a1), _mm_shuffle_epi8(b, b1)),
                                          _mm_shuffle_epi8(c, c1)));
    _mm_storeu_si128(to + 2, _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(a, a2), _mm_shuffle_epi8(b, b2)),
                                          _mm_shuffle_epi8(c, c2)));
}

template <bool bgr>
[[gnu::target("avx2"), gnu::always_inline]] inline void sixteen(__m128i luma, __m128i u8, __m128i v8, const Factors& f,
                                                                std::uint8_t* out) {
    const __m256i y = _mm256_sub_epi16(_mm256_cvtepu8_epi16(luma), f.y_zero);
    const __m256i u = chroma(u8), v = chroma(v8);
    const __m256i yv0 = _mm256_unpacklo_epi16(y, v), yv1 = _mm256_unpackhi_epi16(y, v);
    const __m256i yu0 = _mm256_unpacklo_epi16(y, u), yu1 = _mm256_unpackhi_epi16(y, u);
    const __m128i red = levels(_mm256_madd_epi16(yv0, f.red), _mm256_madd_epi16(yv1, f.red));
    const __m128i green =
        levels(_mm256_add_epi32(_mm256_madd_epi16(yv0, f.green_v), _mm256_madd_epi16(yu0, f.green_u)),
               _mm256_add_epi32(_mm256_madd_epi16(yv1, f.green_v), _mm256_madd_epi16(yu1, f.green_u)));
    const __m128i blue = levels(_mm256_madd_epi16(yu0, f.blue), _mm256_madd_epi16(yu1, f.blue));
    interleave(bgr ? blue : red, green, bgr ? red : blue, out);
}

// Returns how many pixels it did.
template <bool bgr>
[[gnu::target("avx2")]] int blocks(const YuvRow& row, const YuvScale& s, int pixels, std::uint8_t* out) {
    const Factors f{_mm256_set1_epi16(static_cast<short>(s.y_zero)), pair(s.y, s.red_v), pair(s.y, s.green_v),
                    pair(0, s.green_u), pair(s.y, s.blue_u)};
    const __m128i evens = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, -1, -1, -1, -1, -1, -1, -1, -1);
    int x = 0;
    if (row.step == 2) {
        for (; x + 16 <= pixels; x += 16) {
            const __m128i uv = load(row.u + x);
            sixteen<bgr>(load(row.y + x), _mm_shuffle_epi8(uv, evens),
                         _mm_shuffle_epi8(_mm_srli_epi16(uv, 8), evens), f, out + std::size_t(x) * 3);
        }
    } else {
        for (; x + 16 <= pixels; x += 16)
            sixteen<bgr>(load(row.y + x), load_half(row.u + x / 2), load_half(row.v + x / 2), f,
                         out + std::size_t(x) * 3);
    }
    return x;
}

}  // namespace

void yuv_to_rgb_avx2(const YuvRow& row, const YuvScale& scale, bool bgr, int pixels, std::uint8_t* out) {
    const int done = (bgr ? blocks<true> : blocks<false>)(row, scale, pixels, out);
    const std::ptrdiff_t chroma = done / 2 * row.step;
    yuv_to_rgb_scalar({row.y + done, row.u + chroma, row.v + chroma, row.step}, scale, bgr, pixels - done,
                      out + std::size_t(done) * 3);
}

// Green's factor does not fit into 16 bits: half of it goes with red and half with blue.
[[gnu::target("avx2")]] void rgb_to_grey_avx2(const std::uint8_t* in, bool bgr, int pixels, std::uint8_t* out) {
    const __m128i lower = _mm_setr_epi8(0, -1, 1, -1, 3, -1, 4, -1, 6, -1, 7, -1, 9, -1, 10, -1);
    const __m128i upper = _mm_setr_epi8(1, -1, 2, -1, 4, -1, 5, -1, 7, -1, 8, -1, 10, -1, 11, -1);
    const __m256i lowers = _mm256_broadcastsi128_si256(lower), uppers = _mm256_broadcastsi128_si256(upper);
    const __m256i first = pair(bgr ? 7471 : 19595, 19235), last = pair(19235, bgr ? 19595 : 7471);
    const __m256i half = _mm256_set1_epi32(32768);
    int x = 0;
    for (; x + 10 <= pixels; x += 8) {  // the second load reads 4 bytes more than its 4 pixels
        const std::uint8_t* from = in + std::size_t(x) * 3;
        const __m256i rgb = _mm256_inserti128_si256(_mm256_castsi128_si256(load(from)), load(from + 12), 1);
        __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(_mm256_shuffle_epi8(rgb, lowers), first),
                                       _mm256_madd_epi16(_mm256_shuffle_epi8(rgb, uppers), last));
        sum = _mm256_srli_epi32(_mm256_add_epi32(sum, half), 16);
        const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(out + x), _mm_packus_epi16(words, words));
    }
    rgb_to_grey_scalar(in + std::size_t(x) * 3, bgr, pixels - x, out + x);
}

}  // namespace hasten
#endif

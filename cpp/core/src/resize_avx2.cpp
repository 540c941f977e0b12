// The two passes in AVX2. A 22-bit weight is split into two 16-bit halves, so that one instruction multiplies and adds
// pairs of taps. The sums of both halves are put together in 32 bits, modulo 2^32; as the whole sum fits, it is exact.
#include "resize.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>

namespace hasten {
namespace {

constexpr int kBits = 22, kHalf = 11;

// Sums of both halves -> levels, still 32 bits each and not yet clipped.
[[gnu::target("avx2"), gnu::always_inline]] inline __m256i levels(__m256i high, __m256i low) {
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, kHalf), low);
    return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << (kBits - 1))), kBits);
}

// Two 16-bit weights in every 32 bits.
[[gnu::target("avx2"), gnu::always_inline]] inline __m256i pair(const std::int16_t* weight) {
    std::int32_t both;
    std::memcpy(&both, weight, 4);
    return _mm256_set1_epi32(both);
}

[[gnu::target("avx2"), gnu::always_inline]] inline __m256i two(__m128i lower, __m128i upper) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(lower), upper, 1);
}

[[gnu::target("avx2"), gnu::always_inline]] inline const __m128i* at(const std::uint8_t* bytes) {
    return reinterpret_cast<const __m128i*>(bytes);
}

// Four taps of three channels a step: 12 bytes of each row, one row in each half of the register.
[[gnu::target("avx2")]] void across3(const Windows& w, const std::uint8_t* const in[2], std::uint8_t* const out[2]) {
    const __m256i taps01 = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    const __m256i taps23 = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
    const int outputs = w.outputs();
    for (int x = 0; x < outputs; ++x) {
        const std::size_t from = std::size_t(w.first[x]) * 3;
        const std::uint8_t *a = in[0] + from, *b = in[1] + from;
        const std::int16_t *high = &w.high[x * w.stride], *low = &w.low[x * w.stride];
        __m256i highs = _mm256_setzero_si256(), lows = highs;
        for (int k = 0; k < w.taps; k += 4, a += 12, b += 12) {
            __m256i pixels = two(_mm_loadu_si128(at(a)), _mm_loadu_si128(at(b)));
            __m256i p01 = _mm256_shuffle_epi8(pixels, taps01), p23 = _mm256_shuffle_epi8(pixels, taps23);
            highs = _mm256_add_epi32(highs, _mm256_madd_epi16(p01, pair(high + k)));
            lows = _mm256_add_epi32(lows, _mm256_madd_epi16(p01, pair(low + k)));
            highs = _mm256_add_epi32(highs, _mm256_madd_epi16(p23, pair(high + k + 2)));
            lows = _mm256_add_epi32(lows, _mm256_madd_epi16(p23, pair(low + k + 2)));
        }
        __m256i value = levels(highs, lows);
        value = _mm256_packus_epi16(_mm256_packs_epi32(value, value), value);
        const int first = _mm_cvtsi128_si32(_mm256_castsi256_si128(value));
        const int second = _mm_cvtsi128_si32(_mm256_extracti128_si256(value, 1));
        std::memcpy(out[0] + std::size_t(x) * 3, &first, 4);  // the fourth byte belongs to the next pixel
        std::memcpy(out[1] + std::size_t(x) * 3, &second, 4);
    }
}

// Eight taps of one channel a step.
[[gnu::target("avx2")]] void across1(const Windows& w, const std::uint8_t* const in[2], std::uint8_t* const out[2]) {
    const int outputs = w.outputs();
    for (int x = 0; x < outputs; ++x) {
        const std::uint8_t *a = in[0] + w.first[x], *b = in[1] + w.first[x];
        const std::uint8_t* high = reinterpret_cast<const std::uint8_t*>(&w.high[x * w.stride]);
        const std::uint8_t* low = reinterpret_cast<const std::uint8_t*>(&w.low[x * w.stride]);
        __m256i highs = _mm256_setzero_si256(), lows = highs;
        for (int k = 0; k < w.taps; k += 8) {
            __m256i pixels = _mm256_cvtepu8_epi16(
                _mm_unpacklo_epi64(_mm_loadl_epi64(at(a + k)), _mm_loadl_epi64(at(b + k))));
            __m256i h = _mm256_broadcastsi128_si256(_mm_loadu_si128(at(high + 2 * k)));
            __m256i l = _mm256_broadcastsi128_si256(_mm_loadu_si128(at(low + 2 * k)));
            highs = _mm256_add_epi32(highs, _mm256_madd_epi16(pixels, h));
            lows = _mm256_add_epi32(lows, _mm256_madd_epi16(pixels, l));
        }
        // Four parts of each half -> one: high, low, high, low.
        __m256i sums = _mm256_hadd_epi32(highs, lows);
        sums = _mm256_hadd_epi32(sums, sums);
        __m256i value = levels(sums, _mm256_shuffle_epi32(sums, 1));
        value = _mm256_packus_epi16(_mm256_packs_epi32(value, value), value);
        out[0][x] = static_cast<std::uint8_t>(_mm_cvtsi128_si32(_mm256_castsi256_si128(value)));
        out[1][x] = static_cast<std::uint8_t>(_mm_cvtsi128_si32(_mm256_extracti128_si256(value, 1)));
    }
}

// 16 columns of one output row, two input rows a step.
[[gnu::target("avx2"), gnu::always_inline]] inline __m128i columns(const std::int16_t* high, const std::int16_t* low,
                                                                   const std::uint8_t* const* rows, int count,
                                                                   std::size_t from) {
    __m256i high0 = _mm256_setzero_si256(), high1 = high0, low0 = high0, low1 = high0;
    for (int k = 0; k < count; k += 2) {
        __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128(at(rows[k] + from)));
        __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128(at(rows[k + 1] + from)));
        __m256i p0 = _mm256_unpacklo_epi16(a, b), p1 = _mm256_unpackhi_epi16(a, b);
        __m256i h = pair(high + k), l = pair(low + k);
        high0 = _mm256_add_epi32(high0, _mm256_madd_epi16(p0, h));
        high1 = _mm256_add_epi32(high1, _mm256_madd_epi16(p1, h));
        low0 = _mm256_add_epi32(low0, _mm256_madd_epi16(p0, l));
        low1 = _mm256_add_epi32(low1, _mm256_madd_epi16(p1, l));
    }
    __m256i value = _mm256_packs_epi32(levels(high0, low0), levels(high1, low1));
    return _mm_packus_epi16(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
}

}  // namespace

void across_avx2(const Windows& w, int channels, const std::uint8_t* const in[2], std::uint8_t* const out[2]) {
    (channels == 1 ? across1 : across3)(w, in, out);
}

[[gnu::target("avx2")]] void down_avx2(const Windows& w, int output, const std::uint8_t* const* rows, std::size_t bytes,
                                       std::uint8_t* out) {
    const std::int16_t *high = &w.high[output * w.stride], *low = &w.low[output * w.stride];
    const int count = w.count[output];
    std::size_t i = 0;
    for (; i + 16 <= bytes; i += 16)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), columns(high, low, rows, count, i));
    if (i < bytes) {
        std::uint8_t last[16];
        _mm_storeu_si128(reinterpret_cast<__m128i*>(last), columns(high, low, rows, count, i));
        std::memcpy(out + i, last, bytes - i);
    }
}

}  // namespace hasten
#endif

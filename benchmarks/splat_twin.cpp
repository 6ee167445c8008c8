// The twin: the algorithm of lrmzero_lite/render/splat_*.py once more, in C++17 with the vector extensions of GCC and Clang.
// One job per call, as the numba kernels do it: gather a scene, project a view, composite tiles, and all the way back.
// Equations, shapes, units and layouts are those of the Python files. EXP (-D) holds the coefficients of exp.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float Vector __attribute__((vector_size(64)));  // sixteen pixels of a block
typedef double Wide __attribute__((vector_size(64)));   // eight Gaussians

constexpr int SHIFT = 5, TILE = 1 << SHIFT, BLOCKS = TILE / 4, LANES = 8, DIGIT = 13;
constexpr int X = 0, QW = 3, SX = 7, OPACITY = 10, CUT = 11, REACH = 12, CXX = 13, CYY = 16, PLANES = 19;
constexpr float ALPHA_MIN = 1.0f / 255.0f, ALPHA_MAX = 0.999f, STOP = 1e-4f;
constexpr Vector LANE_X = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
constexpr Vector LANE_Y = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
constexpr float E[] = {EXP};

struct Scene {
    int64_t count, pad;
    int32_t* ids;    // [count]
    double* planes;  // [PLANES, pad]
};

struct Record {
    float mx, my, p, q, r, opacity, cut, unused;  // sigma = u^2 + w^2 with u = p dx + q dy, w = r dy
};

struct Box {
    int16_t x0, x1, y0, y1;
};

struct Pair {
    int32_t position, slot;
    uint64_t blocks;  // of the tile that the box touches, bit 8 row + column
};

struct View {
    int64_t count, tiles;
    Record* records;      // [count], by depth
    int32_t* owners;      // [count]
    int64_t* tile_start;  // [tiles + 1]
    Pair* tile_list;      // [tile_start[tiles]]
};

template <class T>
static T* allocate(int64_t count) {
    return static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 127) / 64 * 64));
}

INLINE Wide splat(double x) { return x - Wide{}; }
INLINE Vector splat(float x) { return x - Vector{}; }
INLINE Wide minimum(Wide a, Wide b) { return a < b ? a : b; }
INLINE Wide maximum(Wide a, Wide b) { return a > b ? a : b; }

// Lanes where something holds: a mask register with AVX-512, elsewhere all bits of a lane.
#ifdef __AVX512F__
typedef __mmask16 Mask;
INLINE Mask greater(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
INLINE Mask greater_equal(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
INLINE Vector choose(Mask m, Vector yes, Vector no) { return _mm512_mask_mov_ps(no, m, yes); }
INLINE Vector product_where(Mask m, Vector a, Vector b) { return _mm512_maskz_mul_ps(m, a, b); }
INLINE void store_where(Vector& to, Mask m, Vector v) { _mm512_mask_store_ps(&to, m, v); }
INLINE Vector minimum(Vector a, Vector b) { return _mm512_min_ps(a, b); }
INLINE bool any(Mask m) { return m != 0; }
#else
typedef int32_t Mask __attribute__((vector_size(64)));
INLINE Mask greater(Vector a, Vector b) { return a > b; }
INLINE Mask greater_equal(Vector a, Vector b) { return a >= b; }
INLINE Vector choose(Mask m, Vector yes, Vector no) { return m ? yes : no; }
INLINE Vector product_where(Mask m, Vector a, Vector b) { return m ? a * b : Vector{}; }
INLINE void store_where(Vector& to, Mask m, Vector v) { to = m ? v : to; }
INLINE Vector minimum(Vector a, Vector b) { return a < b ? a : b; }
INLINE bool any(Mask m) {
    int32_t found = 0;
    for (int k = 0; k < 16; k++) found |= m[k];
    return found != 0;
}
#endif

INLINE Wide square_root(Wide a) {
    Wide r;
    for (int k = 0; k < LANES; k++) r[k] = std::sqrt(a[k]);
    return r;
}

INLINE Wide rounded_down(Wide a) {
    Wide r;
    for (int k = 0; k < LANES; k++) r[k] = std::floor(a[k]);
    return r;
}

INLINE Wide rounded_up(Wide a) {
    Wide r;
    for (int k = 0; k < LANES; k++) r[k] = std::ceil(a[k]);
    return r;
}

INLINE double total(Wide a) { return ((a[0] + a[4]) + (a[1] + a[5])) + ((a[2] + a[6]) + (a[3] + a[7])); }

// ---- projection -------------------------------------------------------------------------------------------------------

struct Planes {  // of the eight Gaussians from i on
    double* first;
    int64_t pad;
    Planes(const Scene* scene, int64_t i) : first(scene->planes + i), pad(scene->pad) {}
    inline __attribute__((always_inline)) Wide& operator[](int f) const { return *reinterpret_cast<Wide*>(first + f * pad); }
};

struct Quats {
    Wide w, x, y, z, inverse;
};

INLINE Quats unit_quats(const Planes& p) {
    Wide w = p[QW], x = p[QW + 1], y = p[QW + 2], z = p[QW + 3];
    Wide inverse = 1.0 / square_root(maximum(w * w + x * x + y * y + z * z, splat(1e-24)));
    return {w * inverse, x * inverse, y * inverse, z * inverse, inverse};
}

struct Rotation {
    Wide m[9];
};

INLINE Rotation rotation(const Quats& q) {
    Wide w = q.w, x = q.x, y = q.y, z = q.z;
    return {{1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y),
             2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x),
             2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)}};
}

extern "C" void* twin_gather(int64_t n, const float* means, const float* quats, const float* scales, const float* opacities) {
    int64_t count = 0;
    for (int64_t g = 0; g < n; g++) count += opacities[g] >= ALPHA_MIN;
    Scene* scene = allocate<Scene>(1);
    int64_t pad = (count + LANES - 1) / LANES * LANES;
    *scene = {count, pad, allocate<int32_t>(count), allocate<double>(PLANES * pad)};
    double* planes = scene->planes;
    int64_t i = 0;
    for (int64_t g = 0; g < n; g++) {
        if (!(opacities[g] >= ALPHA_MIN)) continue;
        scene->ids[i] = static_cast<int32_t>(g);
        for (int f = 0; f < 3; f++) planes[(X + f) * pad + i] = means[3 * g + f], planes[(SX + f) * pad + i] = scales[3 * g + f];
        for (int f = 0; f < 4; f++) planes[(QW + f) * pad + i] = quats[4 * g + f];
        planes[OPACITY * pad + i] = opacities[g];
        planes[CUT * pad + i] = std::log(255.0 * opacities[g]);
        i++;
    }
    for (; i < pad; i++)
        for (int f = 0; f < PLANES; f++) planes[f * pad + i] = 1.0;
    for (i = 0; i < pad; i += LANES) {
        Planes p(scene, i);
        p[REACH] = square_root(maximum(p[CUT], Wide{}));
        Rotation r = rotation(unit_quats(p));
        Wide xx{}, xy{}, xz{}, yy{}, yz{}, zz{};
        for (int j = 0; j < 3; j++) {
            Wide s = p[SX + j], a = r.m[j] * s, b = r.m[3 + j] * s, c = r.m[6 + j] * s;
            xx += a * a, xy += a * b, xz += a * c, yy += b * b, yz += b * c, zz += c * c;
        }
        p[CXX] = xx, p[CXX + 1] = xy, p[CXX + 2] = xz, p[CYY] = yy, p[CYY + 1] = yz, p[CYY + 2] = zz;
    }
    return scene;
}

struct Lens {
    double fx, fy, cx, cy, left, right, top, bottom;
    Lens(const double* K, int width, int height) : fx(K[0]), fy(K[4]), cx(K[2]), cy(K[5]) {
        left = (-cx - 0.15 * width) / fx, right = (width - cx + 0.15 * width) / fx;
        top = (-cy - 0.15 * height) / fy, bottom = (height - cy + 0.15 * height) / fy;
    }
};

struct Geometry {  // camera coordinates, derivative of the projection, its product with the view's rotation, covariance
    Wide xc, yc, zc, rz, j00, j02, j11, j12, a0, a1, a2, b0, b1, b2, sxx, sxy, syy;
};

// A Gaussian with seen = 0 keeps its depth out of divisions.
INLINE Geometry geometry(const Planes& p, const double* view, const Lens& lens, Wide seen = splat(1.0)) {
    Geometry g;
    Wide x = p[X], y = p[X + 1], z = p[X + 2];
    g.xc = x * view[0] + y * view[1] + z * view[2] + view[3];
    g.yc = x * view[4] + y * view[5] + z * view[6] + view[7];
    g.zc = x * view[8] + y * view[9] + z * view[10] + view[11];
    g.rz = 1.0 / (seen > 0.0 ? g.zc : splat(1.0));
    Wide u = minimum(maximum(g.xc * g.rz, splat(lens.left)), splat(lens.right));
    Wide v = minimum(maximum(g.yc * g.rz, splat(lens.top)), splat(lens.bottom));
    g.j00 = g.rz * lens.fx, g.j02 = u * g.rz * -lens.fx, g.j11 = g.rz * lens.fy, g.j12 = v * g.rz * -lens.fy;
    Wide a0 = g.j00 * view[0] + g.j02 * view[8], a1 = g.j00 * view[1] + g.j02 * view[9], a2 = g.j00 * view[2] + g.j02 * view[10];
    Wide b0 = g.j11 * view[4] + g.j12 * view[8], b1 = g.j11 * view[5] + g.j12 * view[9], b2 = g.j11 * view[6] + g.j12 * view[10];
    Wide xx = p[CXX], xy = p[CXX + 1], xz = p[CXX + 2], yy = p[CYY], yz = p[CYY + 1], zz = p[CYY + 2];
    Wide u0 = xx * a0 + xy * a1 + xz * a2, u1 = xy * a0 + yy * a1 + yz * a2, u2 = xz * a0 + yz * a1 + zz * a2;
    Wide v0 = xx * b0 + xy * b1 + xz * b2, v1 = xy * b0 + yy * b1 + yz * b2, v2 = xz * b0 + yz * b1 + zz * b2;
    g.sxx = u0 * a0 + u1 * a1 + u2 * a2, g.sxy = u0 * b0 + u1 * b1 + u2 * b2, g.syy = v0 * b0 + v1 * b1 + v2 * b2;
    g.a0 = a0, g.a1 = a1, g.a2 = a2, g.b0 = b0, g.b1 = b1, g.b2 = b2;
    return g;
}

struct Whitening {  // sigma = (p dx + q dy)^2 + (r dy)^2; 1 / determinant and sqrt(2 syy)
    Wide p, q, r, inverse, deviation;
};

INLINE Whitening whitening(Wide sxy, Wide syy, Wide det) {
    const Wide deviation = square_root(syy * 2.0), volume = square_root(det), inverse = 1.0 / (deviation * volume);
    const Wide p = syy * inverse, r = volume * inverse, half = deviation * inverse;
    return {p, p * sxy * r * r * -2.0, r, half * half, deviation};
}

struct Range {  // first and last pixel
    Wide low, high;
};

INLINE Range pixels(Wide centre, Wide reach, double size) {
    return {rounded_up(minimum(maximum(centre - reach, splat(0.5)), splat(size)) - 0.5),
            minimum(rounded_down(maximum(minimum(centre + reach, splat(size)), Wide{}) - 0.5), splat(size - 1.0))};
}

INLINE Wide tiles_in(const Range& r) { return rounded_down(r.high * (1.0 / TILE)) - rounded_down(r.low * (1.0 / TILE)) + 1.0; }

// Eight rows of eight float32 from eight columns: three perfect shuffles of the 64 values.
INLINE void store_rows(Record* to, const Wide (&columns)[8]) {
    typedef float Octet __attribute__((vector_size(32)));
    Vector v[4], t[4];
    for (int k = 0; k < 4; k++) {
        const Octet a = __builtin_convertvector(columns[2 * k], Octet), b = __builtin_convertvector(columns[2 * k + 1], Octet);
        v[k] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    }
    for (int round = 0; round < 3; round++) {
        for (int k = 0; k < 2; k++) {
            t[2 * k] = __builtin_shufflevector(v[k], v[k + 2], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            t[2 * k + 1] = __builtin_shufflevector(v[k], v[k + 2], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        }
        std::memcpy(v, t, sizeof(v));
    }
    std::memcpy(to, v, sizeof(v));
}

// The blocks of a tile that a box touches, bit 8 row + column.
INLINE uint64_t blocks_of(Box b, int left, int top) {
    auto low = [](int v) { return (v > 0 ? v : 0) >> 2; };
    auto high = [](int v) { return (v < TILE - 1 ? v : TILE - 1) >> 2; };
    const int x0 = low(b.x0 - left), x1 = high(b.x1 - left), y0 = low(b.y0 - top), y1 = high(b.y1 - top);
    const uint64_t columns = (2u << x1) - (1u << x0);
    return columns * 0x0101010101010101u & (~uint64_t(0) >> (8 * (7 - y1))) & (~uint64_t(0) << (8 * y0));
}

// Indices into keys, ordered by key, equal ones as they came: digit by digit, as few as the keys' range allows.
static int32_t* sorted(const uint32_t* __restrict keys, int32_t* order, int64_t n) {
    uint32_t low = 0xFFFFFFFF, high = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t key = keys[order[i]];
        low = key < low ? key : low, high = key > high ? key : high;
    }
    int bits = 1;
    while (n > 0 && bits < 32 && (high - low) >> bits > 0) bits++;
    const int digits = (bits + DIGIT - 1) / DIGIT, width = (bits + digits - 1) / digits;
    const uint32_t mask = (1u << width) - 1;
    int32_t *other = allocate<int32_t>(n), *start = allocate<int32_t>((1 << width) + 1);
    for (int shift = 0; shift < digits * width; shift += width) {
        std::memset(start, 0, ((1 << width) + 1) * sizeof(int32_t));
        for (int64_t i = 0; i < n; i++) start[(((keys[order[i]] - low) >> shift) & mask) + 1]++;
        for (uint32_t d = 0; d < mask; d++) start[d + 1] += start[d];
        for (int64_t i = 0; i < n; i++) other[start[((keys[order[i]] - low) >> shift) & mask]++] = order[i];
        int32_t* swap = order;
        order = other, other = swap;
    }
    std::free(other), std::free(start);
    return order;
}

extern "C" void* twin_project(const Scene* scene, const double* view, const double* K, int width, int height, double near,
                              double far, double eps2d, int antialiased, int32_t* __restrict slots) {
    const int64_t count = scene->count, pad = scene->pad;
    const Lens lens(K, width, height);
    const int columns = (width + TILE - 1) >> SHIFT, rows = (height + TILE - 1) >> SHIFT, tiles = columns * rows;
    Record* record = allocate<Record>(pad);
    Box* box = allocate<Box>(pad);
    float* depth = allocate<float>(pad);
    int32_t* order = allocate<int32_t>(count);
    int64_t* tile_start = allocate<int64_t>(tiles + 1);
    std::memset(tile_start, 0, (tiles + 1) * sizeof(int64_t));
    int64_t kept = 0;
    slots[0] = 0;
    for (int64_t i = 0; i < pad; i += LANES) {
        const Planes p(scene, i);
        const Geometry g = geometry(p, view, lens);
        const Wide before = g.sxx * g.syy - g.sxy * g.sxy, sxx = g.sxx + eps2d, syy = g.syy + eps2d;
        const Wide det = sxx * syy - g.sxy * g.sxy, zero{};
        const Whitening w = whitening(g.sxy, syy, det);
        const Wide mx = g.xc * g.rz * lens.fx + lens.cx, my = g.yc * g.rz * lens.fy + lens.cy;
        const Range xs = pixels(mx, p[REACH] * square_root(sxx * 2.0) + 1e-3, width);
        const Range ys = pixels(my, p[REACH] * w.deviation + 1e-3, height);
        Wide opacity = p[OPACITY], own = tiles_in(xs) * tiles_in(ys);
        own = xs.high >= xs.low ? (ys.high >= ys.low ? own : zero) : zero;
        own = g.zc >= near ? (g.zc <= far ? own : zero) : zero;
        own = det > 0.0 ? own : zero;
        if (antialiased) {
            opacity *= square_root(maximum(before * w.inverse, zero));
            own = opacity >= double(ALPHA_MIN) ? own : zero;
        }
        store_rows(record + i, {mx, my, w.p, w.q, w.r, opacity, p[CUT], zero});
        for (int k = 0; k < LANES && k < count - i; k++) {
            slots[i + k + 1] = slots[i + k] + int32_t(own[k]);
            if (own[k] == 0.0) continue;
            if (antialiased) record[i + k].cut = float(std::log(255.0 * record[i + k].opacity));
            order[kept++] = int32_t(i + k), depth[i + k] = float(g.zc[k]);
            const Box b = box[i + k] = {int16_t(xs.low[k]), int16_t(xs.high[k]), int16_t(ys.low[k]), int16_t(ys.high[k])};
            for (int ty = b.y0 >> SHIFT; ty <= b.y1 >> SHIFT; ty++)
                for (int tx = b.x0 >> SHIFT; tx <= b.x1 >> SHIFT; tx++) tile_start[ty * columns + tx + 1]++;
        }
    }
    for (int t = 0; t < tiles; t++) tile_start[t + 1] += tile_start[t];
    order = sorted(reinterpret_cast<const uint32_t*>(depth), order, kept);
    View* seen = allocate<View>(1);
    *seen = {kept, tiles, allocate<Record>(kept), allocate<int32_t>(kept), tile_start, allocate<Pair>(tile_start[tiles])};
    int64_t* fill = allocate<int64_t>(tiles);
    std::memcpy(fill, tile_start, tiles * sizeof(int64_t));
    for (int64_t i = 0; i < kept; i++) {
        const int32_t k = order[i];
        int32_t slot = slots[k];
        seen->records[i] = record[k];
        seen->owners[i] = scene->ids[k];
        const Box b = box[k];
        for (int ty = b.y0 >> SHIFT; ty <= b.y1 >> SHIFT; ty++)
            for (int tx = b.x0 >> SHIFT; tx <= b.x1 >> SHIFT; tx++)
                seen->tile_list[fill[ty * columns + tx]++] = {int32_t(i), slot++, blocks_of(b, tx * TILE, ty * TILE)};
    }
    std::free(record), std::free(box), std::free(depth), std::free(order), std::free(fill);
    return seen;
}

extern "C" int64_t twin_count(const Scene* scene) { return scene->count; }

extern "C" void twin_free_scene(Scene* scene) { std::free(scene->ids), std::free(scene->planes), std::free(scene); }

extern "C" void twin_free_view(View* v) {
    std::free(v->records), std::free(v->owners), std::free(v->tile_start), std::free(v->tile_list), std::free(v);
}

// ---- compositing ------------------------------------------------------------------------------------------------------

INLINE Vector exp_of_minus(Vector s) {
    Vector p = s * E[6] + E[5];
    p = p * s + E[4], p = p * s + E[3], p = p * s + E[2], p = p * s + E[1], p = p * s + E[0];
    p = p * p, p = p * p;
    return p * p;
}

struct State {  // of a block of 4 x 4 pixels; T is negative once a pixel has stopped
    Vector T, red, green, blue, last;
};

struct BackState {
    Vector T, suffix, last, red, green, blue;
};

struct Centres {  // of the pixels of a tile's blocks
    Vector x[BLOCKS], y[BLOCKS];
    Centres() {
        for (int k = 0; k < BLOCKS; k++) x[k] = LANE_X + (4 * k + 0.5f), y[k] = LANE_Y + (4 * k + 0.5f);
    }
};
static const Centres CENTRES;

extern "C" void twin_composite(int first, int last_tile, const View* __restrict view, const float* __restrict colors, int depth,
                               int channel, int width, int height, float* __restrict image, float* __restrict alpha,
                               float* __restrict final, int32_t* __restrict last) {
    const int columns = (width + TILE - 1) >> SHIFT;
    alignas(64) State state[BLOCKS * BLOCKS];
    const Vector zero{}, stop = splat(STOP), limit = splat(ALPHA_MAX);
    for (int tile = first; tile < last_tile; tile++) {
        const int left = tile % columns * TILE, top = tile / columns * TILE;
        uint64_t live = 0;
        for (int block = 0; block < BLOCKS * BLOCKS; block++) {
            const int x0 = left + 4 * (block % BLOCKS), y0 = top + 4 * (block / BLOCKS);
            live |= uint64_t(x0 < width && y0 < height) << block;
            Vector T = LANE_X < splat(float(width - x0)) ? splat(1.0f) : splat(-1.0f);
            state[block] = {LANE_Y < splat(float(height - y0)) ? T : splat(-1.0f), zero, zero, zero, splat(-1.0f)};
        }
        const Pair* list = view->tile_list + view->tile_start[tile];
        const int64_t length = view->tile_start[tile + 1] - view->tile_start[tile];
        for (int64_t k = 0; k < length && live; k++) {
            const int32_t i = list[k].position;
            uint64_t blocks = list[k].blocks & live;
            if (!blocks) continue;
            const Record r = view->records[i];
            const float* color = colors + int64_t(view->owners[i]) * depth + channel;
            const Vector red = splat(color[0]), green = splat(color[1]), blue = splat(color[2]), opacity = splat(r.opacity);
            const Vector position = splat(float(k)), cut = splat(r.cut), p = splat(r.p), q = splat(r.q), t = splat(r.r);
            const float x = r.mx - left, y = r.my - top;
            const Vector u0 = splat(r.p * x + r.q * y), w0 = splat(r.r * y);
            do {
                const int block = __builtin_ctzll(blocks);
                blocks &= blocks - 1;
                State& at = state[block];
                const Vector cx = CENTRES.x[block % BLOCKS], cy = CENTRES.y[block / BLOCKS];
                const Vector u = u0 - p * cx - q * cy, w = w0 - t * cy, s = u * u + w * w, T = at.T;
                const Mask here = greater_equal(cut, s) & greater(T, zero);
                const Vector weight = minimum(exp_of_minus(s) * opacity, limit), next = T - T * weight;
                const Mask counts = here & greater(next, stop);
                const Vector share = product_where(counts, T, weight), now = choose(counts, next, choose(here, -T, T));
                at.T = now;
                at.red += share * red, at.green += share * green, at.blue += share * blue;
                store_where(at.last, counts, position);
                if (!any(greater(now, zero))) live &= ~(uint64_t(1) << block);
            } while (blocks);
        }
        for (int y = top; y < height && y < top + TILE; y++)
            for (int x = left; x < width && x < left + TILE; x++) {
                const State& at = state[(y - top) / 4 * BLOCKS + (x - left) / 4];
                const int lane = (y - top) % 4 * 4 + (x - left) % 4;
                const int64_t pixel = int64_t(y) * width + x;
                final[pixel] = std::fabs(at.T[lane]), alpha[pixel] = 1.0f - final[pixel], last[pixel] = int32_t(at.last[lane]);
                image[3 * pixel] = at.red[lane], image[3 * pixel + 1] = at.green[lane], image[3 * pixel + 2] = at.blue[lane];
            }
    }
}

// Adds the halves of every run of WIDTH lanes: those of a in the lower half, those of b in the upper.
template <int WIDTH>
INLINE Vector fold(Vector a, Vector b) {
#define UPPER(k) ((k) / (WIDTH / 2) % 2)
#define OWN(k) (k) + 16 * UPPER(k)
#define OTHER(k) (k) + (UPPER(k) ? 16 - WIDTH / 2 : WIDTH / 2)
#define ALL(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
    return __builtin_shufflevector(a, b, ALL(OWN)) + __builtin_shufflevector(a, b, ALL(OTHER));
}

extern "C" void twin_composite_backward(int first, int last_tile, const View* __restrict view, const float* __restrict colors,
                                        int depth, int channel, int width, int height, const float* __restrict final,
                                        const int32_t* __restrict last, const float* __restrict v_image,
                                        const float* __restrict v_alpha, float* __restrict v_pairs) {
    const int columns = (width + TILE - 1) >> SHIFT;
    alignas(64) BackState state[BLOCKS * BLOCKS];
    int32_t block_last[BLOCKS * BLOCKS];
    const Vector zero{}, limit = splat(ALPHA_MAX);
    for (int tile = first; tile < last_tile; tile++) {
        const int left = tile % columns * TILE, top = tile / columns * TILE;
        int32_t newest = -1;
        for (int block = 0; block < BLOCKS * BLOCKS; block++) {
            const int x0 = left + 4 * (block % BLOCKS), y0 = top + 4 * (block / BLOCKS);
            block_last[block] = -1;
            if (x0 >= width || y0 >= height) continue;
            BackState& at = state[block];
            for (int lane = 0; lane < 16; lane++) {
                const int x = x0 + lane % 4, y = y0 + lane / 4;
                const bool inside = x < width && y < height;
                const int64_t pixel = int64_t(y) * width + x;
                at.T[lane] = inside ? final[pixel] : 1.0f;
                at.suffix[lane] = inside && channel == 0 ? -final[pixel] * v_alpha[pixel] : 0.0f;
                at.last[lane] = inside ? float(last[pixel]) : -1.0f;
                at.red[lane] = inside ? v_image[pixel * depth + channel] : 0.0f;
                at.green[lane] = inside ? v_image[pixel * depth + channel + 1] : 0.0f;
                at.blue[lane] = inside ? v_image[pixel * depth + channel + 2] : 0.0f;
                if (inside && last[pixel] > block_last[block]) block_last[block] = last[pixel];
            }
            newest = block_last[block] > newest ? block_last[block] : newest;
        }
        const Pair* list = view->tile_list + view->tile_start[tile];
        uint64_t reached = 0;
        for (int32_t k = int32_t(view->tile_start[tile + 1] - view->tile_start[tile]) - 1; k >= 0; k--) {
            if (k == newest) {  // the next blocks begin here
                newest = -1;
                for (int block = 0; block < BLOCKS * BLOCKS; block++) {
                    reached |= uint64_t(block_last[block] == k) << block;
                    newest = block_last[block] < k && block_last[block] > newest ? block_last[block] : newest;
                }
            }
            const int32_t i = list[k].position;
            float* row = v_pairs + int64_t(list[k].slot) * (6 + depth);
            uint64_t blocks = list[k].blocks & reached;
            if (!blocks) {
                for (int f = 0; f < 6; f++) row[f] = channel ? row[f] : 0.0f;
                for (int f = 6; f < 9; f++) row[channel + f] = 0.0f;
                continue;
            }
            const Record r = view->records[i];
            const float* color = colors + int64_t(view->owners[i]) * depth + channel;
            const Vector red = splat(color[0]), green = splat(color[1]), blue = splat(color[2]), opacity = splat(r.opacity);
            const Vector before = splat(float(k) - 0.5f), cut = splat(r.cut), p = splat(r.p), q = splat(r.q), t = splat(r.r);
            const float x = r.mx - left, y = r.my - top;
            const Vector u0 = splat(r.p * x + r.q * y), w0 = splat(r.r * y);
            Vector uu{}, uw{}, ww{}, u1{}, w1{}, vo{}, vr{}, vg{}, vb{};
            do {
                const int block = __builtin_ctzll(blocks);
                blocks &= blocks - 1;
                BackState& at = state[block];
                const Vector cx = CENTRES.x[block % BLOCKS], cy = CENTRES.y[block / BLOCKS];
                const Vector u = u0 - p * cx - q * cy, w = w0 - t * cy, s = u * u + w * w;
                const Mask here = greater_equal(cut, s) & greater(at.last, before);
                const Vector falloff = choose(here, exp_of_minus(s), zero), raw = falloff * opacity;
                const Vector weight = minimum(raw, limit), inverse = 1.0f / (1.0f - weight), T = at.T * inverse;
                at.T = T;
                const Vector shade = at.red * red + at.green * green + at.blue * blue, share = weight * T;
                const Vector v_weight = T * shade - at.suffix * inverse;
                at.suffix += share * shade;
                vr += share * at.red, vg += share * at.green, vb += share * at.blue;
                const Vector v = product_where(greater_equal(limit, raw), v_weight, falloff), vu = v * u, vw = v * w;
                vo += v, u1 += vu, w1 += vw;
                uu += vu * u, uw += vu * w, ww += vw * w;
            } while (blocks);
            const Vector minus = -opacity;
            uu *= minus, uw *= minus, ww *= minus, u1 *= minus, w1 *= minus;
            // Lanes 2 k and 2 k + 1 end up with half of the sum that belongs into row[k] each.
            const Vector even = fold<8>(fold<16>(uu, w1), fold<16>(ww, vr)), odd = fold<8>(fold<16>(uw, vo), fold<16>(u1, vg));
            Vector sums = fold<4>(even, odd);
            sums = fold<2>(sums, sums);
            sums = __builtin_shufflevector(sums, sums, 0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14);
            if (channel == 0) {
                std::memcpy(row, &sums, 8 * sizeof(float));
            } else {
                for (int f = 0; f < 6; f++) row[f] += sums[f];
                row[6 + channel] = sums[6], row[7 + channel] = sums[7];
            }
            vb = fold<16>(vb, vb), vb = fold<8>(vb, vb), vb = fold<4>(vb, vb);
            row[8 + channel] = vb[0] + vb[1];
        }
    }
}

// ---- gradients of the Gaussians and cameras ---------------------------------------------------------------------------

struct Column {
    Wide scale, r0, r1, r2;
};

INLINE Column column(const Wide* w, Wide r0, Wide r1, Wide r2, Wide s) {  // w: xx xy xz yy yz zz
    Wide v0 = (w[0] * r0 + w[1] * r1 + w[2] * r2) * s * 2.0;
    Wide v1 = (w[1] * r0 + w[3] * r1 + w[4] * r2) * s * 2.0;
    Wide v2 = (w[2] * r0 + w[4] * r1 + w[5] * r2) * s * 2.0;
    return {v0 * r0 + v1 * r1 + v2 * r2, v0 * s, v1 * s, v2 * s};
}

INLINE Wide between(double low, Wide x, double high, Wide value) {
    return x >= low ? (high >= x ? value : Wide{}) : Wide{};
}

extern "C" void twin_project_backward(int64_t first, int64_t end, const Scene* scene, const double* __restrict views,
                                      const double* __restrict Ks, int cameras, int width, int height, double eps2d,
                                      int antialiased, const int32_t* __restrict slots, const float* __restrict v_pairs,
                                      float* __restrict v_means, float* __restrict v_quats, float* __restrict v_scales,
                                      float* __restrict v_opacities, float* __restrict v_colors, int64_t colors_stride,
                                      int channels, double* __restrict v_views) {
    const int64_t row = 6 + channels, slots_stride = scene->count + 1;
    std::vector<Lens> lenses;
    for (int c = 0; c < cameras; c++) lenses.emplace_back(Ks + 9 * c, width, height);
    const Wide zero{};
    for (int64_t i = first; i < end; i += LANES) {
        Planes p(scene, i);
        Wide px{}, py{}, pz{}, po{}, w[6] = {};
        const int lanes = end - i < LANES ? int(end - i) : LANES;
        for (int c = 0; c < cameras; c++) {
            const int32_t* own = slots + c * slots_stride + i;
            if (own[lanes] == own[0]) continue;
            alignas(64) double lane[7][LANES] = {};
            for (int k = 0; k < lanes; k++) {
                if (own[k] == own[k + 1]) continue;
                double sum[6] = {};
                float* to = v_colors + c * colors_stride + int64_t(scene->ids[i + k]) * channels;
                for (int64_t slot = own[k]; slot < own[k + 1]; slot++) {
                    const float* from = v_pairs + slot * row;
                    for (int f = 0; f < 6; f++) sum[f] += from[f];
                    for (int f = 0; f < channels; f++) to[f] += from[6 + f];
                }
                for (int f = 0; f < 6; f++) lane[f][k] = sum[f];
                lane[6][k] = 1.0;
            }
            const Wide* in = reinterpret_cast<const Wide*>(lane);
            const Wide seen = in[6];
            const double* view = views + 16 * c;
            const Lens& lens = lenses[c];
            const Geometry g = geometry(p, view, lens, seen);
            const Wide rz = g.rz, before = g.sxx * g.syy - g.sxy * g.sxy, bxx = g.sxx + eps2d, byy = g.syy + eps2d;
            const Wide det = bxx * byy - g.sxy * g.sxy, one = splat(1.0);
            const Whitening l = whitening(g.sxy, seen > 0.0 ? byy : one, seen > 0.0 ? det : one);
            const Wide p0 = l.p, q = l.q, t = l.r, inverse = l.inverse;
            const Wide v_mx = p0 * in[3] * 2.0, v_my = (q * in[3] + t * in[4]) * 2.0;
            const Wide m0 = q * in[0] + t * in[1], m1 = q * in[1] + t * in[2];
            Wide h00 = p0 * p0 * in[0] * -2.0, h01 = p0 * m0 * -2.0, h11 = (q * m0 + t * m1) * -2.0, v_o = in[5];
            if (antialiased) {
                const Wide factor = square_root(maximum(before * inverse, zero)), v_factor = v_o * p[OPACITY];
                v_o = v_o * factor;
                const Wide to_before = v_factor * inverse * 0.5 / maximum(factor, splat(1e-6));
                const Wide to_after = v_factor * factor * inverse * -0.5;
                h00 += to_before * g.syy + to_after * byy, h11 += to_before * g.sxx + to_after * bxx;
                h01 -= (to_before + to_after) * g.sxy;
            }
            po += v_o;

            const Wide ha0 = h00 * g.a0 + h01 * g.b0, ha1 = h00 * g.a1 + h01 * g.b1, ha2 = h00 * g.a2 + h01 * g.b2;
            const Wide hb0 = h01 * g.a0 + h11 * g.b0, hb1 = h01 * g.a1 + h11 * g.b1, hb2 = h01 * g.a2 + h11 * g.b2;
            w[0] += g.a0 * ha0 + g.b0 * hb0, w[1] += g.a0 * ha1 + g.b0 * hb1, w[2] += g.a0 * ha2 + g.b0 * hb2;
            w[3] += g.a1 * ha1 + g.b1 * hb1, w[4] += g.a1 * ha2 + g.b1 * hb2, w[5] += g.a2 * ha2 + g.b2 * hb2;
            const Wide xx = p[CXX], xy = p[CXX + 1], xz = p[CXX + 2], yy = p[CYY], yz = p[CYY + 1], zz = p[CYY + 2];
            const Wide ma0 = (ha0 * xx + ha1 * xy + ha2 * xz) * 2.0, mb0 = (hb0 * xx + hb1 * xy + hb2 * xz) * 2.0;
            const Wide ma1 = (ha0 * xy + ha1 * yy + ha2 * yz) * 2.0, mb1 = (hb0 * xy + hb1 * yy + hb2 * yz) * 2.0;
            const Wide ma2 = (ha0 * xz + ha1 * yz + ha2 * zz) * 2.0, mb2 = (hb0 * xz + hb1 * yz + hb2 * zz) * 2.0;
            const Wide v00 = ma0 * view[0] + ma1 * view[1] + ma2 * view[2], v02 = ma0 * view[8] + ma1 * view[9] + ma2 * view[10];
            const Wide v11 = mb0 * view[4] + mb1 * view[5] + mb2 * view[6], v12 = mb0 * view[8] + mb1 * view[9] + mb2 * view[10];
            const Wide v_u = v02 * rz * -lens.fx, v_v = v12 * rz * -lens.fy, x = g.xc * rz, y = g.yc * rz;
            const Wide v_x = (v_mx * lens.fx + between(lens.left, x, lens.right, v_u)) * rz;
            const Wide v_y = (v_my * lens.fy + between(lens.top, y, lens.bottom, v_v)) * rz;
            const Wide v_z = -(v00 * g.j00 + v02 * g.j02 + v11 * g.j11 + v12 * g.j12) * rz - v_x * x - v_y * y;
            px += v_x * view[0] + v_y * view[4] + v_z * view[8];
            py += v_x * view[1] + v_y * view[5] + v_z * view[9];
            pz += v_x * view[2] + v_y * view[6] + v_z * view[10];
            if (v_views) {
                const Wide ma[3] = {ma0, ma1, ma2}, mb[3] = {mb0, mb1, mb2};
                double* to = v_views + 16 * c;
                for (int q = 0; q < 3; q++) {
                    to[q] += total(v_x * p[X + q] + g.j00 * ma[q]);
                    to[4 + q] += total(v_y * p[X + q] + g.j11 * mb[q]);
                    to[8 + q] += total(v_z * p[X + q] + g.j02 * ma[q] + g.j12 * mb[q]);
                }
                to[3] += total(v_x), to[7] += total(v_y), to[11] += total(v_z);
            }
        }

        const Quats q = unit_quats(p);
        const Rotation r = rotation(q);
        const Column c0 = column(w, r.m[0], r.m[3], r.m[6], p[SX]), c1 = column(w, r.m[1], r.m[4], r.m[7], p[SX + 1]);
        const Column c2 = column(w, r.m[2], r.m[5], r.m[8], p[SX + 2]);
        const Wide qw = (q.x * (c1.r2 - c2.r1) + q.y * (c2.r0 - c0.r2) + q.z * (c0.r1 - c1.r0)) * 2.0;
        const Wide xy = c1.r0 + c0.r1, xz = c2.r0 + c0.r2, yz = c2.r1 + c1.r2;
        const Wide qx = (q.y * xy + q.z * xz + q.w * (c1.r2 - c2.r1) - q.x * (c1.r1 + c2.r2) * 2.0) * 2.0;
        const Wide qy = (q.x * xy + q.z * yz + q.w * (c2.r0 - c0.r2) - q.y * (c0.r0 + c2.r2) * 2.0) * 2.0;
        const Wide qz = (q.x * xz + q.y * yz + q.w * (c0.r1 - c1.r0) - q.z * (c0.r0 + c1.r1) * 2.0) * 2.0;
        const Wide along = qw * q.w + qx * q.x + qy * q.y + qz * q.z;
        const Wide out[11] = {px, py, pz, c0.scale, c1.scale, c2.scale, po, (qw - along * q.w) * q.inverse,
                              (qx - along * q.x) * q.inverse, (qy - along * q.y) * q.inverse, (qz - along * q.z) * q.inverse};
        for (int k = 0; k < lanes; k++) {
            const int64_t id = scene->ids[i + k];
            for (int f = 0; f < 3; f++) v_means[3 * id + f] = out[f][k], v_scales[3 * id + f] = out[3 + f][k];
            v_opacities[id] = out[6][k];
            for (int f = 0; f < 4; f++) v_quats[4 * id + f] = out[7 + f][k];
        }
    }
}

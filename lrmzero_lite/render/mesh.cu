// The mesh renderer on CUDA: project, raster, shade; many views of many meshes in one launch of each.
//
// It follows mesh_kernels.py and mesh_shading.py operation by operation, in float64 and without fused multiply-adds, so that
// coverage is equal and values agree to rounding (z along a wide row is added up there and multiplied out here).
// A view takes some ten million float64 operations: microseconds by estimate, even on a card with few units for them.
// A job is one view of one mesh. A sample's key holds the bits of 1 / z above the inverted face index, so that one 64-bit
// maximum keeps the nearest face and, at equal depth, the first: whatever the order of the threads, the image is the same.
// Compiled at run time by mesh_cuda.py, which holds the twins of the structs; tests/render/cuda_host.h lets a C++ compiler
// build the very same file.

constexpr double NEAR = 0.05;      // the near plane: what lies closer to the camera is cut off
constexpr double EDGE = -1e-5;     // a sample on an edge belongs to both triangles: no cracks
constexpr int TINY = 6;            // columns up to which a triangle is filled sample by sample
constexpr int ID = 0x7fffffff;     // low half of a key
constexpr int LARGE = 256;         // samples in the box of a face above which a warp draws it instead of one thread,
constexpr int SHARED = 4096;       // and above which several warps do
constexpr int LANES = 32;

typedef long long Key;

struct Mesh {                          // what prepare_scene makes, in device memory
    const float *vertices, *normals, *uvs;
    const int *faces, *material;
    const unsigned char *closed;       // [F] 1: the face's back is hidden by its own body, unless a vertex is behind the near plane
    const unsigned char *texels;       // [N, 4]
    const long long *levels;           // [T, level_count, 3] first texel, height, width
    const unsigned char *finish_texels;
    const long long *finish_levels;    // [T, finish_level_count, 3]
    const float *irradiance, *lamp;    // [9, 3], [2, 3]
    const long long *mirror_levels;    // [mirror_level_count, 2] first texel, side
    const float *mirror, *fresnel;     // [N, 3], [fresnel_size, fresnel_size]
    int vertex_count, face_count, level_count, finished, finish_level_count, kind, mirror_level_count, fresnel_size;
};

struct Job {
    double viewmat[12];                // rows of [R | t], world to camera
    double eye[3], fx, fy, cx, cy;     // camera position; intrinsics in samples
    int mesh, screen;                  // index in Batch::meshes, first row in Batch::screen
};

struct __align__(16) Corner {          // a projected vertex: position in samples, 1 / z (-1: behind the near plane), and
    float x, y, inverse;               // how many sample rows (high half) and columns (low half) have their centre before it
    unsigned cell;
};

struct Queued { int job, face; };

struct Batch {
    const Mesh *meshes;
    const Job *jobs;
    const float *to_linear;            // [256] linear light of sRGB bytes
    Corner *screen;
    int *behind;                       // [jobs] 1: a vertex is behind the near plane
    Key *keys;                         // [jobs, rows, columns], 0 where nothing is hit
    Queued *queue;                     // faces for whole warps
    int *queue_length;
    float *image, *depth, *normals;    // [jobs, height, width, 4], [.., ..], [.., .., 3]
    int width, height, supersample;
};

struct Vec { double x, y, z; };

__device__ unsigned cell_of(double sx, double sy, int rows, int columns) {
    unsigned row = (unsigned)fmin(fmax(sy + 0.5, 0.0), (double)rows), column = (unsigned)fmin(fmax(sx + 0.5, 0.0), (double)columns);
    return row << 16 | column;
}

// Threads: x a vertex, y a job.
extern "C" __global__ void project(Batch b) {
    const Job &job = b.jobs[blockIdx.y];
    const Mesh &mesh = b.meshes[job.mesh];
    int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= mesh.vertex_count) return;
    const double *m = job.viewmat;
    double x = mesh.vertices[3 * index], y = mesh.vertices[3 * index + 1], z = mesh.vertices[3 * index + 2];
    double depth = m[8] * x + m[9] * y + m[10] * z + m[11];
    Corner out = {0, 0, -1, 0};
    if (depth >= NEAR) {
        double inverse = 1.0 / depth;
        out.x = (float)((m[0] * job.fx * x + m[1] * job.fx * y + m[2] * job.fx * z + m[3] * job.fx) * inverse + job.cx);
        out.y = (float)((m[4] * job.fy * x + m[5] * job.fy * y + m[6] * job.fy * z + m[7] * job.fy) * inverse + job.cy);
        out.inverse = (float)inverse;
        out.cell = cell_of(out.x, out.y, b.height * b.supersample, b.width * b.supersample);
    } else {
        b.behind[blockIdx.y] = 1;  // whichever thread comes, the same value
    }
    b.screen[job.screen + index] = out;
}

struct Triangle {
    double ax, ay, az, bx, by, bz, cx, cy, cz;  // on the screen, z being 1 / depth
    int top, bottom, left, right;               // the samples of its box, ends excluded
};

__device__ void bound(Triangle &t, unsigned pa, unsigned pb, unsigned pc, int rows) {
    unsigned low = min(pa >> 16, min(pb >> 16, pc >> 16)), high = max(pa >> 16, max(pb >> 16, pc >> 16));
    t.top = low, t.bottom = min((int)high, rows);
    low = min(pa & 0xffff, min(pb & 0xffff, pc & 0xffff)), high = max(pa & 0xffff, max(pb & 0xffff, pc & 0xffff));
    t.left = low, t.right = high;
}

__device__ void put(Key *cell, double z, int face) {
    Key key = (Key)__float_as_int((float)z) << 32 | (ID - face);
    // Read plainly first: hidden samples then cost no atomic. A stale value is only ever too small, so nothing is lost.
    if (key > *(volatile Key *)cell) atomicMax(cell, key);
}

// The part of a row, counted from its left end, on which the weight w + dx * step is at least EDGE: shrinks [low, high].
__device__ void narrow(double w, double dx, double &low, double &high) {
    double over = fabs(dx) > 1e-14 ? 1.0 / dx : 0.0, cross = (EDGE - w) * over;
    if (over > 0) low = fmax(low, cross);
    else if (over < 0) high = fmin(high, cross);
    else if (w < EDGE) high = -1;
}

// Twice the signed area on the screen: positive if the face is seen from the back.
__device__ double area_of(const Triangle &t) {
    return (t.bx - t.ax) * (t.cy - t.ay) - (t.cx - t.ax) * (t.by - t.ay);
}

// Draw the rows top + row, top + row + rows, ... of a triangle, and in wide ones every `columns`-th sample from `column` on.
__device__ void fill(const Batch &b, int job, int face, const Triangle &t, int row, int rows, int column, int columns) {
    double area = area_of(t);
    if (area == 0) return;
    int pitch = b.width * b.supersample;
    Key *keys = b.keys + (size_t)job * b.height * b.supersample * pitch;
    double scale = 1.0 / area;
    double b_dx = (t.cy - t.ay) * scale, b_dy = (t.ax - t.cx) * scale;  // the corners' weights are affine on the screen
    double c_dx = (t.ay - t.by) * scale, c_dy = (t.bx - t.ax) * scale, a_dx = -b_dx - c_dx;
    double bz = t.bz - t.az, cz = t.cz - t.az, z_dx = b_dx * bz + c_dx * cz;
    double start = t.left + 0.5 - t.ax;
    for (int y = t.top + row; y < t.bottom; y += rows) {
        Key *line = keys + (size_t)y * pitch + t.left;
        double down = y + 0.5 - t.ay;
        double wb = b_dx * start + b_dy * down, wc = c_dx * start + c_dy * down;
        if (t.right - t.left <= TINY) {
            for (int x = 0; x < t.right - t.left; x++) {
                if (wb >= EDGE && wc >= EDGE && 1.0 - wb - wc >= EDGE) put(line + x, t.az + wb * bz + wc * cz, face);
                wb += b_dx;
                wc += c_dx;
            }
            continue;
        }
        double low = 0, high = t.right - t.left - 1;
        narrow(1.0 - wb - wc, a_dx, low, high);
        narrow(wb, b_dx, low, high);
        narrow(wc, c_dx, low, high);
        if (high < low) continue;
        int first = (int)ceil(low), last = (int)high;
        double z = t.az + wb * bz + wc * cz + z_dx * first;
        for (int x = column; x <= last - first; x += columns) put(line + first + x, z + z_dx * x, face);
    }
}

__device__ void place(Triangle &t, const Corner &a, const Corner &b, const Corner &c, int rows) {
    t.ax = a.x, t.ay = a.y, t.az = a.inverse, t.bx = b.x, t.by = b.y, t.bz = b.inverse, t.cx = c.x, t.cy = c.y, t.cz = c.inverse;
    bound(t, a.cell, b.cell, c.cell, rows);
}

// Threads: x a face, y a job. Most faces cover a few samples; one that covers many would keep the other lanes of its warp
// waiting, so it is queued for `raster_large`, as are the few that cross the near plane.
extern "C" __global__ void raster(Batch b) {
    const Job &job = b.jobs[blockIdx.y];
    const Mesh &mesh = b.meshes[job.mesh];
    int face = blockIdx.x * blockDim.x + threadIdx.x;
    if (face >= mesh.face_count) return;
    const Corner *screen = b.screen + job.screen;
    Corner p = screen[mesh.faces[3 * face]], q = screen[mesh.faces[3 * face + 1]], r = screen[mesh.faces[3 * face + 2]];
    int hidden = (p.inverse < 0) + (q.inverse < 0) + (r.inverse < 0);
    if (hidden == 3) return;
    Triangle t;
    if (hidden == 0) {
        unsigned differ = (p.cell ^ q.cell) | (p.cell ^ r.cell);
        if (differ < 0x10000 || (differ & 0xffff) == 0) return;  // no sample centre between its corners
        place(t, p, q, r, b.height * b.supersample);
        if (mesh.closed[face] && !b.behind[blockIdx.y] && area_of(t) > 0) return;
    }
    if (hidden || (t.bottom - t.top) * (t.right - t.left) > LARGE) {
        int at = atomicAdd(b.queue_length, 1);
        b.queue[at].job = blockIdx.y;
        b.queue[at].face = face;
    } else {
        fill(b, blockIdx.y, face, t, 0, 1, 0, 1);
    }
}

__device__ Vec in_camera(const Job &job, const float *p) {
    const double *m = job.viewmat;
    return {m[0] * p[0] + m[1] * p[1] + m[2] * p[2] + m[3], m[4] * p[0] + m[5] * p[1] + m[6] * p[2] + m[7],
            m[8] * p[0] + m[9] * p[1] + m[10] * p[2] + m[11]};
}

// A face cut at the near plane: its three or four corners, and their number.
__device__ int cut_near(const Job &job, const Mesh &mesh, int face, Vec *cut) {
    int count = 0;
    for (int k = 0; k < 3; k++) {
        Vec p = in_camera(job, mesh.vertices + 3 * mesh.faces[3 * face + k]);
        Vec q = in_camera(job, mesh.vertices + 3 * mesh.faces[3 * face + (k + 1) % 3]);
        if (p.z >= NEAR) cut[count++] = p;
        if ((p.z >= NEAR) != (q.z >= NEAR)) {
            double t = (NEAR - p.z) / (q.z - p.z);
            cut[count++] = {p.x + (q.x - p.x) * t, p.y + (q.y - p.y) * t, NEAR};
        }
    }
    for (int k = 0; k < count; k++)
        cut[k] = {cut[k].x / cut[k].z * job.fx + job.cx, cut[k].y / cut[k].z * job.fy + job.cy, 1.0 / cut[k].z};
    return count;
}

// A wide triangle is taken 4 rows by 8 samples at a time (64 bytes side by side), a narrow one 32 rows at a time. A huge one
// is shared: band k of `bands` takes every `bands`-th group of rows. The others belong to band 0 alone.
__device__ void fill_by_warp(const Batch &b, int job, int face, const Triangle &t, int lane, int band, int bands) {
    int width = t.right - t.left;
    if ((t.bottom - t.top) * width <= SHARED) bands = 1;
    if (band >= bands) return;
    if (width <= TINY) fill(b, job, face, t, band * LANES + lane, bands * LANES, 0, 1);
    else fill(b, job, face, t, band * 4 + lane / 8, bands * 4, lane % 8, 8);
}

// Warps walk the queue, those of each blockIdx.y all of it: that is their band.
extern "C" __global__ void raster_large(Batch b) {
    int lane = threadIdx.x % LANES, warps = gridDim.x * blockDim.x / LANES;
    int rows = b.height * b.supersample, columns = b.width * b.supersample;
    for (int at = (blockIdx.x * blockDim.x + threadIdx.x) / LANES; at < *b.queue_length; at += warps) {
        int face = b.queue[at].face;
        const Job &job = b.jobs[b.queue[at].job];
        const Mesh &mesh = b.meshes[job.mesh];
        const Corner *screen = b.screen + job.screen;
        Corner p = screen[mesh.faces[3 * face]], q = screen[mesh.faces[3 * face + 1]], r = screen[mesh.faces[3 * face + 2]];
        Triangle t;
        if (p.inverse > 0 && q.inverse > 0 && r.inverse > 0) {
            place(t, p, q, r, rows);
            fill_by_warp(b, b.queue[at].job, face, t, lane, blockIdx.y, gridDim.y);
            continue;
        }
        Vec cut[4];
        int count = cut_near(job, mesh, face, cut);
        for (int k = 1; k < count - 1; k++) {
            Vec u = cut[0], v = cut[k], w = cut[k + 1];
            t.ax = u.x, t.ay = u.y, t.az = u.z, t.bx = v.x, t.by = v.y, t.bz = v.z, t.cx = w.x, t.cy = w.y, t.cz = w.z;
            bound(t, cell_of(u.x, u.y, 0xffff, columns), cell_of(v.x, v.y, 0xffff, columns), cell_of(w.x, w.y, 0xffff, columns), rows);
            fill_by_warp(b, b.queue[at].job, face, t, lane, blockIdx.y, gridDim.y);
        }
    }
}

#include "mesh_shading.cuh"

struct Shaded { Vec color, normal; double z; };

// Linear colour, depth and normal of the seen side of a face at (px, py), in samples.
__device__ Shaded shade_face(const Batch &b, const Job &job, int face, double px, double py) {
    const Mesh &mesh = b.meshes[job.mesh];
    const Corner *screen = b.screen + job.screen;
    int i = mesh.faces[3 * face], j = mesh.faces[3 * face + 1], k = mesh.faces[3 * face + 2];
    const float *A = mesh.vertices + 3 * i, *B = mesh.vertices + 3 * j, *C = mesh.vertices + 3 * k;
    int samples = b.supersample * b.supersample;
    Corner p = screen[i], q = screen[j], r = screen[k];
    Hit hit;
    if (p.inverse > 0 && q.inverse > 0 && r.inverse > 0) {
        hit = hit_on_screen(p, q, r, px, py, samples);
    } else {
        hit = hit_on_ray(in_camera(job, A), in_camera(job, B), in_camera(job, C), (px - job.cx) / job.fx, (py - job.cy) / job.fy);
        hit.density /= job.fx * job.fy / samples;
    }
    double wa = hit.wa, wb = hit.wb, wc = hit.wc;
    const float *na = mesh.normals + 3 * i, *nb = mesh.normals + 3 * j, *nc = mesh.normals + 3 * k;
    Vec n = {wa * na[0] + wb * nb[0] + wc * nc[0], wa * na[1] + wb * nb[1] + wc * nc[1], wa * na[2] + wb * nb[2] + wc * nc[2]};
    double side = hit.back ? seen_side(A, B, C, n) : 1.0;
    double ua = mesh.uvs[2 * i], va = mesh.uvs[2 * i + 1];
    double ub = mesh.uvs[2 * j] - ua, vb = mesh.uvs[2 * j + 1] - va, uc = mesh.uvs[2 * k] - ua, vc = mesh.uvs[2 * k + 1] - va;
    double u = ua + wb * ub + wc * uc, v = va + wb * vb + wc * vc, density = hit.density * fabs(ub * vc - uc * vb);
    long long texture = mesh.material[face];
    Taps taps = taps_at(level_of(mesh.levels + 3 * texture * mesh.level_count, mesh.level_count, density), u, v);
    Vec color = {light_at(mesh.texels, taps, b.to_linear, 0), light_at(mesh.texels, taps, b.to_linear, 1),
                 light_at(mesh.texels, taps, b.to_linear, 2)};
    Vec seen = {side * n.x, side * n.y, side * n.z};
    if (mesh.kind == 0) return {color, seen, hit.z};

    double length = fmax(sqrt(n.x * n.x + n.y * n.y + n.z * n.z), 1e-12);
    Vec s = {n.x / length, n.y / length, n.z / length};
    const long long *levels = mesh.finish_levels + 3 * texture * mesh.finish_level_count;
    bool finished = mesh.finished && levels[1] > 0;
    double roughness = 1, metallic = 0;
    if (finished) {
        taps = taps_at(level_of(levels, mesh.finish_level_count, density), u, v);
        double x = (byte_at(mesh.finish_texels, taps, 0) - 128.0) / 127.0, y = (byte_at(mesh.finish_texels, taps, 1) - 128.0) / 127.0;
        roughness = byte_at(mesh.finish_texels, taps, 2) / 255.0;
        metallic = byte_at(mesh.finish_texels, taps, 3) / 255.0;
        s = bent_normal(mesh, s, x, y, i, j, k);
    }
    s = {s.x * side, s.y * side, s.z * side};
    Vec e = diffuse_light(mesh, s);
    if (mesh.kind == 2 && finished) {
        Vec to_eye = {job.eye[0] - (wa * A[0] + wb * B[0] + wc * C[0]), job.eye[1] - (wa * A[1] + wb * B[1] + wc * C[1]),
                      job.eye[2] - (wa * A[2] + wb * B[2] + wc * C[2])};
        length = sqrt(to_eye.x * to_eye.x + to_eye.y * to_eye.y + to_eye.z * to_eye.z);
        to_eye = {to_eye.x / length, to_eye.y / length, to_eye.z / length};
        color = glossy(mesh, color, s, to_eye, roughness, metallic, e);
    } else {
        color = {color.x * e.x, color.y * e.y, color.z * e.z};
    }
    return {color, seen, hit.z};
}

// Threads: x and y a pixel, z a job. Each face of a pixel is shaded once, at the mean of its samples there. The samples are
// read again for every face instead of kept in an array, which would lie in memory: they are in the first cache by then.
extern "C" __global__ void shade(Batch b) {
    int j = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y * blockDim.y + threadIdx.y;
    if (j >= b.width || i >= b.height) return;
    int size = b.supersample, samples = size * size, pitch = b.width * size;
    const Job &job = b.jobs[blockIdx.z];
    const Key *keys = b.keys + ((size_t)blockIdx.z * b.height + i) * size * pitch + (size_t)j * size;
    int covered = 0;
    double z = 0;
    Vec color = {0, 0, 0}, normal = {0, 0, 0};
    for (int s = 0; s < samples; s++) {
        Key key = keys[s / size * pitch + s % size];
        if (key == 0) continue;
        int face = ID - (int)(key & ID), before = s - 1;
        covered++;
        while (before >= 0 && (keys[before / size * pitch + before % size] & ID) != (key & ID)) before--;
        if (before >= 0) continue;  // shaded with an earlier sample
        int count = 0, x = 0, y = 0;
        for (int t = s; t < samples; t++) {
            if ((keys[t / size * pitch + t % size] & ID) != (key & ID)) continue;
            count++;
            x += t % size;
            y += t / size;
        }
        double weight = count;
        Shaded here = shade_face(b, job, face, x / weight + (j * size + 0.5), y / weight + (i * size + 0.5));
        color = {color.x + weight * here.color.x, color.y + weight * here.color.y, color.z + weight * here.color.z};
        normal = {normal.x + weight * here.normal.x, normal.y + weight * here.normal.y, normal.z + weight * here.normal.z};
        z += weight * here.z;
    }
    size_t pixel = ((size_t)blockIdx.z * b.height + i) * b.width + j;
    double over = covered ? 1.0 / covered : 0.0;
    double length = fmax(sqrt(normal.x * normal.x + normal.y * normal.y + normal.z * normal.z), 1e-12);
    float *image = b.image + 4 * pixel, *out = b.normals + 3 * pixel;
    image[0] = (float)(color.x * over), image[1] = (float)(color.y * over), image[2] = (float)(color.z * over);
    image[3] = (float)(covered / (double)samples);
    b.depth[pixel] = (float)(z * over);
    out[0] = (float)(normal.x / length), out[1] = (float)(normal.y / length), out[2] = (float)(normal.z / length);
}

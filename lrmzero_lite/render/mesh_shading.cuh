// Where a ray meets a face, textures and lights, for mesh.cu: the functions of mesh_shading.py, operation by operation.

// The level whose texels are nearest in size to a pixel: density is texture area per pixel area. levels: of one texture.
__device__ const long long *level_of(const long long *levels, int count, double density) {
    double texels = density * levels[1] * levels[2];
    int level = 0;
    while (texels >= 2.0 && level < count - 1) {
        texels *= 0.25;
        level++;
    }
    return levels + 3 * level;
}

struct Taps { long long p00, p01, p10, p11; double w00, w01, w10, w11; };

// The four texels around (u, v) with repeat wrapping, and their weights; (0, 0) is the lower left corner.
__device__ Taps taps_at(const long long *level, double u, double v) {
    long long first = level[0];
    int height = (int)level[1], width = (int)level[2];
    double x = (u - floor(u)) * width - 0.5, y = (1.0 - (v - floor(v))) * height - 0.5;
    int j = (int)(x + 1.0) - 1, i = (int)(y + 1.0) - 1;
    double fx = x - j, fy = y - i;
    int j0 = j >= 0 ? j : width - 1, i0 = i >= 0 ? i : height - 1;
    int j1 = j + 1 < width ? j + 1 : 0, i1 = i + 1 < height ? i + 1 : 0;
    long long upper = first + (long long)i0 * width, lower = first + (long long)i1 * width;
    return {upper + j0, upper + j1, lower + j0, lower + j1,
            (1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy};
}

__device__ double blend(const Taps &t, double p00, double p01, double p10, double p11) {
    return t.w00 * p00 + t.w01 * p01 + t.w10 * p10 + t.w11 * p11;
}

__device__ double byte_at(const unsigned char *texels, const Taps &t, int channel) {
    return blend(t, texels[4 * t.p00 + channel], texels[4 * t.p01 + channel], texels[4 * t.p10 + channel], texels[4 * t.p11 + channel]);
}

__device__ double light_at(const unsigned char *texels, const Taps &t, const float *to_linear, int channel) {
    return blend(t, to_linear[texels[4 * t.p00 + channel]], to_linear[texels[4 * t.p01 + channel]],
                 to_linear[texels[4 * t.p10 + channel]], to_linear[texels[4 * t.p11 + channel]]);
}

// The unit normal n turned by the tangent-space normal (x, y): x along growing u on the face (a, b, c), y along growing v.
__device__ Vec bent_normal(const Mesh &mesh, Vec n, double x, double y, int a, int b, int c) {
    const float *A = mesh.vertices + 3 * a, *B = mesh.vertices + 3 * b, *C = mesh.vertices + 3 * c;
    float e0 = B[0] - A[0], e1 = B[1] - A[1], e2 = B[2] - A[2], g0 = C[0] - A[0], g1 = C[1] - A[1], g2 = C[2] - A[2];
    double ua = mesh.uvs[2 * a], va = mesh.uvs[2 * a + 1];
    double du = mesh.uvs[2 * b] - ua, dv = mesh.uvs[2 * b + 1] - va, eu = mesh.uvs[2 * c] - ua, ev = mesh.uvs[2 * c + 1] - va;
    double turn = du * ev - eu * dv > 0 ? 1.0 : -1.0;
    Vec t = {(e0 * ev - g0 * dv) * turn, (e1 * ev - g1 * dv) * turn, (e2 * ev - g2 * dv) * turn};
    double along = t.x * n.x + t.y * n.y + t.z * n.z;
    t = {t.x - along * n.x, t.y - along * n.y, t.z - along * n.z};
    double length = sqrt(t.x * t.x + t.y * t.y + t.z * t.z);
    if (length < 1e-20) return n;
    t = {t.x / length, t.y / length, t.z / length};
    Vec s = {n.y * t.z - n.z * t.y, n.z * t.x - n.x * t.z, n.x * t.y - n.y * t.x};
    Vec up = {(g0 * du - e0 * eu) * turn, (g1 * du - e1 * eu) * turn, (g2 * du - e2 * eu) * turn};
    if (s.x * up.x + s.y * up.y + s.z * up.z < 0) s = {-s.x, -s.y, -s.z};
    double z = sqrt(fmax(1.0 - x * x - y * y, 0.0));
    Vec m = {t.x * x + s.x * y + n.x * z, t.y * x + s.y * y + n.y * z, t.z * x + s.z * y + n.z * z};
    length = sqrt(m.x * m.x + m.y * m.y + m.z * m.z);
    return {m.x / length, m.y / length, m.z / length};
}

// E(n) of lights.py.
__device__ Vec diffuse_light(const Mesh &mesh, Vec n) {
    const float *c = mesh.irradiance, *lamp = mesh.lamp;
    double y4 = n.x * n.y, y5 = n.y * n.z, y6 = 3.0 * n.z * n.z - 1.0, y7 = n.x * n.z, y8 = n.x * n.x - n.y * n.y;
    double facing = fmax(n.x * lamp[0] + n.y * lamp[1] + n.z * lamp[2], 0.0), e[3];
    for (int k = 0; k < 3; k++) {
        double sum = c[k] + c[3 + k] * n.x + c[6 + k] * n.y + c[9 + k] * n.z;
        sum += c[12 + k] * y4 + c[15 + k] * y5 + c[18 + k] * y6 + c[21 + k] * y7 + c[24 + k] * y8;
        e[k] = fmax(sum, 0.0) + lamp[3 + k] * facing;
    }
    return {e[0], e[1], e[2]};
}

// L of lights.py in unit direction d.
__device__ Vec mirror_light(const Mesh &mesh, Vec d, double roughness) {
    double scale = fabs(d.x) + fabs(d.y) + fabs(d.z), x = d.x / scale, y = d.y / scale;
    if (d.z < 0) {
        double folded = (1.0 - fabs(y)) * (x >= 0 ? 1.0 : -1.0);
        y = (1.0 - fabs(x)) * (y >= 0 ? 1.0 : -1.0);
        x = folded;
    }
    double at = roughness * (mesh.mirror_level_count - 1);
    int below = min((int)at, mesh.mirror_level_count - 2);
    Vec out = {0, 0, 0};
    for (int step = 0; step < 2; step++) {
        double part = step ? at - below : 1.0 - (at - below);
        if (part == 0) continue;
        const long long *level = mesh.mirror_levels + 2 * (below + step);
        int side = (int)level[1];
        double gx = (x * 0.5 + 0.5) * (side - 1), gy = (y * 0.5 + 0.5) * (side - 1);
        int j = min((int)gx, side - 2), i = min((int)gy, side - 2);
        double fx = gx - j, fy = gy - i;
        const float *p = mesh.mirror + 3 * (level[0] + i * side + j), *q = p + 3 * side;
        double w00 = part * (1.0 - fx) * (1.0 - fy), w01 = part * fx * (1.0 - fy);
        double w10 = part * (1.0 - fx) * fy, w11 = part * fx * fy;
        out.x += w00 * p[0] + w01 * p[3] + w10 * q[0] + w11 * q[3];
        out.y += w00 * p[1] + w01 * p[4] + w10 * q[1] + w11 * q[4];
        out.z += w00 * p[2] + w01 * p[5] + w10 * q[2] + w11 * q[5];
    }
    return out;
}

// k of lights.py.
__device__ double fresnel_share(const Mesh &mesh, double facing, double roughness) {
    int size = mesh.fresnel_size;
    double y = facing * (size - 1), x = roughness * (size - 1);
    int i = min((int)y, size - 2), j = min((int)x, size - 2);
    double fy = y - i, fx = x - j;
    const float *p = mesh.fresnel + i * size + j, *q = p + size;
    double upper = p[0] * (1.0 - fx) + p[1] * fx;
    return upper * (1.0 - fy) + (q[0] * (1.0 - fx) + q[1] * fx) * fy;
}

// The environment formula of lights.py for a surface with a finish: base colour c, normal n, direction v to the eye, E(n) = e.
__device__ Vec glossy(const Mesh &mesh, Vec c, Vec n, Vec v, double roughness, double metallic, Vec e) {
    double facing = n.x * v.x + n.y * v.y + n.z * v.z;
    Vec l = mirror_light(mesh, {2.0 * facing * n.x - v.x, 2.0 * facing * n.y - v.y, 2.0 * facing * n.z - v.z}, roughness);
    double k = fresnel_share(mesh, fmin(fmax(facing, 0.0), 1.0), roughness), s = 0.04 + 0.96 * k;
    double plain = (1.0 - metallic) * (1.0 - s), metal = (1.0 - metallic) * s;
    return {plain * c.x * e.x + (metal + metallic * (c.x + (1.0 - c.x) * k)) * l.x,
            plain * c.y * e.y + (metal + metallic * (c.y + (1.0 - c.y) * k)) * l.y,
            plain * c.z * e.z + (metal + metallic * (c.z + (1.0 - c.z) * k)) * l.z};
}

struct Hit { double wa, wb, wc, z, density; bool back; };  // perspective weights, depth, texture density in uv, seen from behind

__device__ Hit hit_on_screen(const Corner &a, const Corner &b, const Corner &c, double px, double py, int samples) {
    double ax = a.x, ay = a.y, za = a.inverse, zb = b.inverse, zc = c.inverse;
    double bx = b.x - ax, by = b.y - ay, cx = c.x - ax, cy = c.y - ay, area = bx * cy - cx * by;
    double qx = px - ax, qy = py - ay, over = 1.0 / area;
    double wb = (qx * cy - cx * qy) * over, wc = (bx * qy - qx * by) * over, wa = (1.0 - wb - wc) * za;
    wb *= zb;
    wc *= zc;
    double z = 1.0 / (wa + wb + wc);
    return {wa * z, wb * z, wc * z, z, z * z * z * za * zb * zc * fabs(over) * samples, area > 0};
}

// The same on the ray (x, y, 1), for corners behind the camera too.
__device__ Hit hit_on_ray(Vec a, Vec b, Vec c, double x, double y) {
    double wa = x * (b.y * c.z - b.z * c.y) + y * (b.z * c.x - b.x * c.z) + (b.x * c.y - b.y * c.x);
    double wb = x * (c.y * a.z - c.z * a.y) + y * (c.z * a.x - c.x * a.z) + (c.x * a.y - c.y * a.x);
    double wc = x * (a.y * b.z - a.z * b.y) + y * (a.z * b.x - a.x * b.z) + (a.x * b.y - a.y * b.x);
    double volume = a.x * (b.y * c.z - b.z * c.y) + a.y * (b.z * c.x - b.x * c.z);
    volume += a.z * (b.x * c.y - b.y * c.x);
    double total = wa + wb + wc, z = volume / total;
    return {wa / total, wb / total, wc / total, z, z * z * z / fabs(volume), volume > 0};
}

// -1 if the normal belongs to the side that the corner order calls front (the face is seen from the back), else 1.
__device__ double seen_side(const float *A, const float *B, const float *C, Vec n) {
    float e0 = B[0] - A[0], e1 = B[1] - A[1], e2 = B[2] - A[2], g0 = C[0] - A[0], g1 = C[1] - A[1], g2 = C[2] - A[2];
    double facing = (e1 * g2 - e2 * g1) * n.x + (e2 * g0 - e0 * g2) * n.y + (e0 * g1 - e1 * g0) * n.z;
    return facing > 0 ? -1.0 : 1.0;
}

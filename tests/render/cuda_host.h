// The part of CUDA that mesh.cu uses, for a C++ compiler: one thread after the other. Build with -DSOURCE='"path of mesh.cu"'.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
using std::min, std::max, std::fmin, std::fmax, std::fabs, std::floor, std::ceil, std::sqrt;

#define __global__
#define __device__ static inline
#define __align__(n) alignas(n)
struct Index { int x, y, z; };
static thread_local Index blockIdx, threadIdx, blockDim, gridDim;

static inline int __float_as_int(float x) { int bits; std::memcpy(&bits, &x, 4); return bits; }
template <class T> static inline void atomicMax(T *cell, T value) { *cell = max(*cell, value); }
template <class T> static inline T atomicAdd(T *cell, T value) { T old = *cell; *cell += value; return old; }

#include SOURCE

// What a launch does: every thread of every block. Returns false if there is no such kernel.
extern "C" bool launch(const char *name, const int *grid, const int *block, const Batch *batch) {
    struct { const char *name; void (*run)(Batch); } kernels[] = {
        {"project", project}, {"raster", raster}, {"raster_large", raster_large}, {"shade", shade}};
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (auto &kernel : kernels) {
        if (std::strcmp(kernel.name, name)) continue;
        for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)
            for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
                for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++)
                    for (threadIdx.z = 0; threadIdx.z < block[2]; threadIdx.z++)
                        for (threadIdx.y = 0; threadIdx.y < block[1]; threadIdx.y++)
                            for (threadIdx.x = 0; threadIdx.x < block[0]; threadIdx.x++) kernel.run(*batch);
        return true;
    }
    return false;
}

extern "C" void sizes(int *out) { out[0] = sizeof(Mesh), out[1] = sizeof(Job), out[2] = sizeof(Batch), out[3] = sizeof(Corner), out[4] = sizeof(Queued); }

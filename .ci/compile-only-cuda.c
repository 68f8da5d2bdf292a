/* A CUDA driver without a card: kernels are kept as PTX and never run.
 *
 *   cc -shared -fPIC -o DIR/libcuda.so.1 .ci/compile-only-cuda.c
 *   SM=70 PTX_DIR=ptx LD_LIBRARY_PATH=DIR program --device cuda:0
 *
 * The program sees one device of compute capability SM (70 is V100, 80 A100, 90 H100), its memory is the host's and starts
 * as zeros, and a launch does nothing, so that results mean nothing. What it is for: every kernel that the program
 * compiles for such a card lies in PTX_DIR afterwards, one file each, for ptxas to judge (`.ci/devices`). */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int CUresult;
enum { SUCCESS = 0, INVALID_VALUE = 1, NOT_SUPPORTED = 801 };
static int nothing;

static int capability(void) {
    const char *sm = getenv("SM");
    return sm ? atoi(sm) : 80;
}

CUresult cuInit(unsigned flags) { return SUCCESS; }
CUresult cuDriverGetVersion(int *version) { *version = 12080; return SUCCESS; }
CUresult cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
CUresult cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal == 0 ? SUCCESS : INVALID_VALUE; }
CUresult cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, length, "no card (compile only, sm_%d)", capability());
    return SUCCESS;
}
CUresult cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)16 << 30; return SUCCESS; }
CUresult cuDeviceGetPCIBusId(char *id, int length, int device) { snprintf(id, length, "0000:00:00.0"); return SUCCESS; }
CUresult cuDeviceGetLuid(char *luid, unsigned *mask, int device) { return NOT_SUPPORTED; }
CUresult cuDeviceGetUuid_v2(char *uuid, int device) { memset(uuid, 0, 16); return SUCCESS; }
CUresult cuDeviceGetAttribute(int *value, int attribute, int device) {
    int sm = capability();
    switch (attribute) {
    case 1: *value = 1024; break;                                             /* threads of a block */
    case 2: case 3: *value = 1024; break;                                     /* block, x and y */
    case 4: *value = 64; break;                                               /* block, z */
    case 5: *value = 2147483647; break;                                       /* grid, x */
    case 6: case 7: *value = 65535; break;                                    /* grid, y and z */
    case 8: *value = 49152; break;                                            /* shared memory of a block */
    case 10: *value = 32; break;                                              /* warp */
    case 16: *value = sm >= 90 ? 132 : sm >= 80 ? 108 : 80; break;            /* multiprocessors */
    case 75: *value = sm / 10; break;                                         /* compute capability, major */
    case 76: *value = sm % 10; break;                                         /* compute capability, minor */
    case 97: *value = sm >= 90 ? 232448 : sm >= 80 ? 166912 : 98304; break;   /* shared memory of a block, at most */
    case 115: *value = 1; break;                                              /* memory pools */
    default: *value = 0;
    }
    return SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(void **context, int device) { *context = &nothing; return SUCCESS; }
CUresult cuDevicePrimaryCtxRelease_v2(int device) { return SUCCESS; }
CUresult cuCtxSetCurrent(void *context) { return SUCCESS; }
CUresult cuCtxGetCurrent(void **context) { *context = &nothing; return SUCCESS; }
CUresult cuCtxSynchronize(void) { return SUCCESS; }
CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) { *least = *greatest = 0; return SUCCESS; }

CUresult cuStreamCreate(void **stream, unsigned flags) { *stream = &nothing; return SUCCESS; }
CUresult cuStreamCreateWithPriority(void **stream, unsigned flags, int priority) { *stream = &nothing; return SUCCESS; }
CUresult cuStreamDestroy_v2(void *stream) { return SUCCESS; }
CUresult cuStreamSynchronize(void *stream) { return SUCCESS; }
CUresult cuStreamQuery(void *stream) { return SUCCESS; }
CUresult cuStreamWaitEvent(void *stream, void *event, unsigned flags) { return SUCCESS; }
CUresult cuEventCreate(void **event, unsigned flags) { *event = &nothing; return SUCCESS; }
CUresult cuEventDestroy_v2(void *event) { return SUCCESS; }
CUresult cuEventRecord(void *event, void *stream) { return SUCCESS; }
CUresult cuEventSynchronize(void *event) { return SUCCESS; }
CUresult cuEventQuery(void *event) { return SUCCESS; }
CUresult cuEventElapsedTime(float *ms, void *start, void *end) { *ms = 1; return SUCCESS; }
CUresult cuEventElapsedTime_v2(float *ms, void *start, void *end) { *ms = 1; return SUCCESS; }

static CUresult allocate(void **memory, size_t bytes) {
    *memory = calloc(bytes ? bytes : 1, 1);
    return *memory ? SUCCESS : 2;
}
CUresult cuMemAlloc_v2(void **memory, size_t bytes) { return allocate(memory, bytes); }
CUresult cuMemAllocAsync(void **memory, size_t bytes, void *stream) { return allocate(memory, bytes); }
CUresult cuMemAllocHost_v2(void **memory, size_t bytes) { return allocate(memory, bytes); }
CUresult cuMemFree_v2(void *memory) { free(memory); return SUCCESS; }
CUresult cuMemFreeAsync(void *memory, void *stream) { free(memory); return SUCCESS; }
CUresult cuMemFreeHost(void *memory) { free(memory); return SUCCESS; }
CUresult cuMemGetInfo_v2(size_t *left, size_t *total) { *left = *total = (size_t)16 << 30; return SUCCESS; }

static CUresult copy(void *to, const void *from, size_t bytes) { memmove(to, from, bytes); return SUCCESS; }
CUresult cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t bytes, void *stream) { return copy(to, from, bytes); }
CUresult cuMemcpyDtoHAsync_v2(void *to, const void *from, size_t bytes, void *stream) { return copy(to, from, bytes); }
CUresult cuMemcpyDtoDAsync_v2(void *to, const void *from, size_t bytes, void *stream) { return copy(to, from, bytes); }
CUresult cuMemsetD8Async(void *to, unsigned char value, size_t bytes, void *stream) { memset(to, value, bytes); return SUCCESS; }

struct side { size_t x, y; int type; void *host; void *device; void *array; size_t pitch; };
struct rectangle { struct side from, to; size_t width, height; };
static char *place(const struct side *side) {
    enum { HOST = 1 };
    char *base = side->type == HOST ? side->host : side->device;
    return base + side->y * side->pitch + side->x;
}
CUresult cuMemcpy2DAsync_v2(const struct rectangle *copied, void *stream) {
    for (size_t row = 0; row < copied->height; row++)
        memmove(place(&copied->to) + row * copied->to.pitch, place(&copied->from) + row * copied->from.pitch, copied->width);
    return SUCCESS;
}

CUresult cuModuleLoadData(void **module, const void *image) {
    const char *ptx = image, *folder = getenv("PTX_DIR");
    uint64_t hash = 1469598103934665603u;
    for (const char *c = ptx; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    if (folder) {
        char whole[4096], path[4200];
        snprintf(whole, sizeof whole, "%s/sm_%d-%016llx.ptx", folder, capability(), (unsigned long long)hash);
        snprintf(path, sizeof path, "%s.%d", whole, getpid());
        FILE *file = fopen(path, "w");
        if (!file) return INVALID_VALUE;
        fputs(ptx, file);
        fclose(file);
        rename(path, whole);
    }
    *module = &nothing;
    return SUCCESS;
}
CUresult cuModuleUnload(void *module) { return SUCCESS; }
CUresult cuModuleGetFunction(void **function, void *module, const char *name) { *function = &nothing; return SUCCESS; }
CUresult cuFuncSetAttribute(void *function, int attribute, int value) { return SUCCESS; }
CUresult cuFuncGetAttribute(int *value, int attribute, void *function) { *value = 0; return SUCCESS; }
CUresult cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned block_x, unsigned block_y,
                        unsigned block_z, unsigned shared, void *stream, void **parameters, void **extra) {
    return SUCCESS;
}
CUresult cuLaunchKernelEx(const void *config, void *function, void **parameters, void **extra) { return SUCCESS; }
CUresult cuTensorMapEncodeTiled(void *map, ...) { memset(map, 0, 128); return SUCCESS; }
CUresult cuTensorMapEncodeIm2col(void *map, ...) { memset(map, 0, 128); return SUCCESS; }

CUresult cuGetErrorName(CUresult error, const char **text) { *text = "an error of the driver without a card"; return SUCCESS; }
CUresult cuGetErrorString(CUresult error, const char **text) { return cuGetErrorName(error, text); }

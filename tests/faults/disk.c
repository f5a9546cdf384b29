/* A disk that refuses, for writers that are no Python: the n-th call by which this process writes below a folder fails.

   cc -shared -fPIC -o disk.so disk.c -ldl; LD_PRELOAD=disk.so; a process calls `refuse` of itself. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long first, n_calls;
static int error, is_lasting, is_short;

/* From the call of this number on (0: never), one call or all fail; a short write stores half of its bytes before. */
void refuse(const char *below, long number, int code, int lasting, int cut) {
    snprintf(folder, sizeof folder, "%s", below);
    first = number, error = code, is_lasting = lasting, is_short = cut, n_calls = 0;
}

void mend(void) { *folder = 0; }

long count_calls(void) { return n_calls; }

static int is_here(const char *path) { return *folder && strncmp(path, folder, strlen(folder)) == 0; }

static int is_open_here(int file) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = *folder ? readlink(link, path, sizeof path - 1) : -1;
    path[length > 0 ? length : 0] = 0;
    return is_here(path);
}

static int fails(void) {
    long late = ++n_calls - first;
    if (first == 0 || late < 0 || (late > is_short && !is_lasting) || (late == 0 && is_short)) return 0;
    errno = error;
    return 1;
}

static size_t cut(size_t n_bytes) { return is_short && first && n_calls == first && n_bytes > 1 ? n_bytes / 2 : n_bytes; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FILE_CALL(name, arguments, ...) \
    int name arguments { return is_open_here(file) && fails() ? -1 : REAL(name)(__VA_ARGS__); }
#define WRITE_CALL(name, offset_type) \
    ssize_t name(int file, const void *bytes, size_t n, offset_type at) { \
        if (is_open_here(file)) { \
            if (fails()) return -1; \
            n = cut(n); \
        } \
        return REAL(name)(file, bytes, n, at); \
    }
#define OPEN_CALL(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = va_arg(more, mode_t); \
        va_end(more); \
        return (flags & O_ACCMODE) != O_RDONLY && is_here(path) && fails() ? -1 : REAL(name)(path, flags, mode); \
    }

OPEN_CALL(open)
OPEN_CALL(open64)
FILE_CALL(fsync, (int file), file)
FILE_CALL(fdatasync, (int file), file)
FILE_CALL(ftruncate, (int file, off_t length), file, length)
FILE_CALL(ftruncate64, (int file, off64_t length), file, length)
WRITE_CALL(pwrite, off_t)
WRITE_CALL(pwrite64, off64_t)

ssize_t write(int file, const void *bytes, size_t n) {
    if (is_open_here(file)) {
        if (fails()) return -1;
        n = cut(n);
    }
    return REAL(write)(file, bytes, n);
}

int rename(const char *from, const char *to) { return is_here(to) && fails() ? -1 : REAL(rename)(from, to); }

int msync(void *start, size_t length, int flags) { return *folder && fails() ? -1 : REAL(msync)(start, length, flags); }

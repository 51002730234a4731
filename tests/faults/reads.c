/* Refuses one reading call of a file with EIO, as a broken disk does. Preloaded; FAULT_READS is the file. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls, point;

void reads_arm(long at)
{
    calls = 0;
    point = at;
}

long reads_seen(void) { return calls; }

static int refused(int fd)
{
    const char *file = getenv("FAULT_READS");
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    if (!file || strcmp(path, file) || ++calls != point)
        return 0;
    errno = EIO;
    return 1;
}

#define REAL(name)                 \
    static __typeof__(&name) real; \
    if (!real)                     \
    real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t read(int fd, void *to, size_t n)
{
    REAL(read);
    return refused(fd) ? -1 : real(fd, to, n);
}

ssize_t pread(int fd, void *to, size_t n, off_t at)
{
    REAL(pread);
    return refused(fd) ? -1 : real(fd, to, n, at);
}

ssize_t pread64(int fd, void *to, size_t n, off64_t at)
{
    REAL(pread64);
    return refused(fd) ? -1 : real(fd, to, n, at);
}

ssize_t preadv(int fd, const struct iovec *v, int n, off_t at)
{
    REAL(preadv);
    return refused(fd) ? -1 : real(fd, v, n, at);
}

ssize_t preadv64(int fd, const struct iovec *v, int n, off64_t at)
{
    REAL(preadv64);
    return refused(fd) ? -1 : real(fd, v, n, at);
}

/* Refuses one reading call of a file with EIO, or all over some bytes of it, as a broken disk does, or lets it
 * end where these begin. Preloaded; FAULT_READS is the file. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST 1024 /* pieces of one preadv: IOV_MAX */

static atomic_long calls, point, bad_from, bad_to, ends;

void reads_arm(long at)
{
    calls = 0;
    point = at;
}

void reads_refuse(long from, long to, long as_end)
{
    bad_from = from;
    bad_to = to;
    ends = as_end;
}

long reads_seen(void) { return calls; }

static int is_file(int fd)
{
    const char *file = getenv("FAULT_READS");
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return file && !strcmp(path, file);
}

static int refused(int fd)
{
    if (!is_file(fd) || ++calls != point)
        return 0;
    errno = EIO;
    return 1;
}

/* Bytes of `n` at `at` that lie before those that are refused; -1 where none does, with what is said then. */
static ssize_t good(int fd, off_t at, size_t n, ssize_t *said)
{
    if (bad_to <= bad_from || at >= bad_to || at + (off_t)n <= bad_from || !is_file(fd))
        return n;
    if (at < bad_from)
        return bad_from - at;
    errno = EIO;
    *said = ends ? 0 : -1;
    return -1;
}

static ssize_t good_pieces(int fd, const struct iovec *v, int *n, off_t at, struct iovec *to, ssize_t *said)
{
    size_t all = 0;
    for (int i = 0; i < *n; i++)
        all += v[i].iov_len;
    ssize_t left = good(fd, at, all, said);
    if (left < 0)
        return left;
    int count = 0;
    for (; count < *n && left > 0; count++) {
        to[count] = v[count];
        if ((size_t)left < to[count].iov_len)
            to[count].iov_len = left;
        left -= to[count].iov_len;
    }
    *n = count;
    return 0;
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
    ssize_t said, n_good = good(fd, at, n, &said);
    return refused(fd) ? -1 : n_good < 0 ? said : real(fd, to, n_good, at);
}

ssize_t pread64(int fd, void *to, size_t n, off64_t at)
{
    REAL(pread64);
    ssize_t said, n_good = good(fd, at, n, &said);
    return refused(fd) ? -1 : n_good < 0 ? said : real(fd, to, n_good, at);
}

ssize_t preadv(int fd, const struct iovec *v, int n, off_t at)
{
    REAL(preadv);
    struct iovec some[MOST];
    ssize_t said;
    if (refused(fd))
        return -1;
    return good_pieces(fd, v, &n, at, some, &said) < 0 ? said : real(fd, some, n, at);
}

ssize_t preadv64(int fd, const struct iovec *v, int n, off64_t at)
{
    REAL(preadv64);
    struct iovec some[MOST];
    ssize_t said;
    if (refused(fd))
        return -1;
    return good_pieces(fd, v, &n, at, some, &said) < 0 ? said : real(fd, some, n, at);
}

/* Stands between a process and the system: counts, lists, refuses or ends at calls that change a folder.
 *
 * Preloaded. FAULT_ROOT is the folder; other files are left alone. fault_arm() says what to do at which call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, FULL, FAIL };
static atomic_long calls, point;
static atomic_int mode, refused, log_file = -1;

void fault_arm(int what, long at, int log)
{
    mode = what;
    point = at;
    log_file = log;
    calls = 0;
    refused = 0;
}

long fault_calls(void)
{
    return calls;
}

static int inside(const char *path)
{
    const char *root = getenv("FAULT_ROOT");
    return root && path && strncmp(path, root, strlen(root)) == 0;
}

static const char *name_of(int fd, char *path, size_t size)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, size - 1);
    path[n > 0 ? n : 0] = 0;
    return path;
}

static ssize_t (*real_write)(int, const void *, size_t);

/* 1: the call is to be refused. */
static int meet(const char *call, const char *path, int writes)
{
    if (!inside(path))
        return 0;
    long number = ++calls;
    if (log_file >= 0) {
        char line[5000];
        int n = snprintf(line, sizeof line, "%s %s\n", call, path);
        if (!real_write)
            real_write = dlsym(RTLD_NEXT, "write");
        if (real_write(log_file, line, n) != n)
            abort();
    }
    if (mode == FULL && refused && (!strcmp(call, "cut") || !strcmp(call, "unlink")))
        mode = COUNT; /* what is cut off or removed gives space back */
    if (mode == KILL && number == point)
        raise(SIGKILL);
    if (mode == FAIL && number == point) {
        errno = EIO;
        return 1;
    }
    if (mode == FULL && number >= point && writes) {
        errno = ENOSPC;
        refused = 1;
        return 1;
    }
    return 0;
}

static int meet_fd(const char *call, int fd, int writes)
{
    char path[4096];
    return meet(call, name_of(fd, path, sizeof path), writes);
}

#define REAL(name)                     \
    static __typeof__(&name) real;     \
    if (!real)                         \
    real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t n)
{
    REAL(write);
    return meet_fd("write", fd, 1) ? -1 : real(fd, data, n);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    REAL(pwrite);
    return meet_fd("write", fd, 1) ? -1 : real(fd, data, n, at);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at)
{
    REAL(pwrite64);
    return meet_fd("write", fd, 1) ? -1 : real(fd, data, n, at);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    REAL(writev);
    return meet_fd("write", fd, 1) ? -1 : real(fd, v, n);
}

ssize_t sendfile(int to, int from, off_t *at, size_t n)
{
    REAL(sendfile);
    return meet_fd("write", to, 1) ? -1 : real(to, from, at, n);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t n)
{
    REAL(sendfile64);
    return meet_fd("write", to, 1) ? -1 : real(to, from, at, n);
}

int ftruncate64(int fd, off64_t n)
{
    REAL(ftruncate64);
    return meet_fd("truncate", fd, 0) ? -1 : real(fd, n);
}

int truncate(const char *path, off_t n)
{
    REAL(truncate);
    return meet("cut", path, 0) ? -1 : real(path, n);
}

int truncate64(const char *path, off64_t n)
{
    REAL(truncate64);
    return meet("cut", path, 0) ? -1 : real(path, n);
}

int fsync(int fd)
{
    REAL(fsync);
    return meet_fd("fsync", fd, 0) ? -1 : real(fd);
}

int link(const char *from, const char *to)
{
    REAL(link);
    return meet("link", to, 0) ? -1 : real(from, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags)
{
    REAL(linkat);
    return meet("link", to, 0) ? -1 : real(a, from, b, to, flags);
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    return meet("rename", to, 0) ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t how)
{
    REAL(mkdir);
    return meet("mkdir", path, 1) ? -1 : real(path, how);
}

int unlink(const char *path)
{
    REAL(unlink);
    return meet("unlink", path, 0) ? -1 : real(path);
}

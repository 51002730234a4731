/* Stands between a process and the system: counts, lists, refuses or ends at calls that change a folder.
 *
 * Preloaded. FAULT_ROOT is the folder; other files are left alone. fault_arm() says what to do at which call.
 */
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
#include <sys/stat.h>
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

long fault_calls(void) { return calls; }

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

/* A name seen from an open folder, as a whole path. */
static const char *whole(int folder, const char *name, char *path, size_t size)
{
    if (name[0] == '/' || folder == AT_FDCWD)
        return name;
    name_of(folder, path, size / 2);
    size_t n = strlen(path);
    snprintf(path + n, size - n, "/%s", name);
    return path;
}

static int meet_at(const char *call, int folder, const char *name, int writes)
{
    char path[8192];
    return meet(call, whole(folder, name, path, sizeof path), writes);
}

/* Opening is such a call only where it makes a file. */
static int meet_open(int folder, const char *name, int flags)
{
    char path[8192];
    struct stat known;
    if (!(flags & O_CREAT))
        return 0;
    name = whole(folder, name, path, sizeof path);
    return stat(name, &known) && meet("create", name, 1);
}

#define REAL(name)                 \
    static __typeof__(&name) real; \
    if (!real)                     \
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

ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t n, unsigned flags)
{
    REAL(copy_file_range);
    return meet_fd("write", to, 1) ? -1 : real(from, a, to, b, n, flags);
}

#define OPEN(name, folder, parameters, ...)                                  \
    int name parameters                                                      \
    {                                                                        \
        REAL(name);                                                          \
        va_list more;                                                        \
        va_start(more, flags);                                               \
        mode_t how = flags & O_CREAT ? va_arg(more, mode_t) : 0;             \
        va_end(more);                                                        \
        return meet_open(folder, path, flags) ? -1 : real(__VA_ARGS__, how); \
    }
OPEN(open, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPEN(openat, folder, (int folder, const char *path, int flags, ...), folder, path, flags)
OPEN(openat64, folder, (int folder, const char *path, int flags, ...), folder, path, flags)

int ftruncate(int fd, off_t n)
{
    REAL(ftruncate);
    return meet_fd("truncate", fd, 0) ? -1 : real(fd, n);
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

int fdatasync(int fd)
{
    REAL(fdatasync);
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
    return meet_at("link", b, to, 0) ? -1 : real(a, from, b, to, flags);
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

int renameat(int a, const char *from, int b, const char *to)
{
    REAL(renameat);
    return meet_at("rename", b, to, 0) ? -1 : real(a, from, b, to);
}

int mkdirat(int folder, const char *path, mode_t how)
{
    REAL(mkdirat);
    return meet_at("mkdir", folder, path, 1) ? -1 : real(folder, path, how);
}

int unlink(const char *path)
{
    REAL(unlink);
    return meet("unlink", path, 0) ? -1 : real(path);
}

int unlinkat(int folder, const char *path, int flags)
{
    REAL(unlinkat);
    return meet_at(flags & AT_REMOVEDIR ? "rmdir" : "unlink", folder, path, 0) ? -1
                                                                               : real(folder, path, flags);
}

int rmdir(const char *path)
{
    REAL(rmdir);
    return meet("rmdir", path, 0) ? -1 : real(path);
}

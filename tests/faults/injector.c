/* A library to preload: it counts calls of file functions below a folder, and makes one of them fail or come short.
 *
 * Environment, read when the library is loaded:
 *   FAULT_FOLDER    folder whose files are watched: absolute, without links
 *   FAULT_RANK      only this rank of mpirun's; absent: every process
 *   FAULT_LOG       file that gets a line for each call: function, a space, path below the folder
 *   FAULT_FUNCTION  function to fail, as it is named in the log
 *   FAULT_PATH      path below the folder, a pattern of fnmatch(3)
 *   FAULT_CALL      number of the call of that function on that path which fails, from 1
 *   FAULT_ERRNO     error number; 0 makes a read or write come short instead
 *   FAULT_LASTS     1: all calls of that function below the folder fail from then on, as on a disk that stays full
 *   FAULT_FIRED     file that is created when the fault happens; if it exists, the fault happens no more
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *folder, *wanted, *pattern;
static char fired_path[PATH_MAX];
static size_t folder_length;
static int record = -1, error_number, lasts;
static long wanted_call;
static atomic_long calls;
static atomic_int failing;

#define REAL(name) ((__typeof__(&name))next(#name, &(static_pointer)))
static void *next(const char *name, void **kept) {
    if (!*kept) *kept = dlsym(RTLD_NEXT, name);
    return *kept;
}

__attribute__((constructor)) static void start(void) {
    const char *rank = getenv("FAULT_RANK"), *own = getenv("OMPI_COMM_WORLD_RANK"), *log = getenv("FAULT_LOG");
    const char *fired = getenv("FAULT_FIRED");
    folder = getenv("FAULT_FOLDER");
    if (!folder || (rank && (!own || strcmp(rank, own)))) {
        folder = NULL;
        return;
    }
    folder_length = strlen(folder);
    if (log) record = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    wanted = getenv("FAULT_FUNCTION");
    pattern = getenv("FAULT_PATH");
    if (!wanted) return;
    wanted_call = atol(getenv("FAULT_CALL"));
    error_number = atoi(getenv("FAULT_ERRNO"));
    lasts = getenv("FAULT_LASTS") != NULL;
    snprintf(fired_path, sizeof fired_path, "%s", fired);
}

/* The part of an absolute path below the folder; NULL if it is not below it. */
static const char *below(const char *path) {
    if (strncmp(path, folder, folder_length) || path[folder_length] != '/') return NULL;
    return path + folder_length + 1;
}

static int fire(void) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, fired_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return 0;
    syscall(SYS_close, fd);
    return 1;
}

/* Whether this call, of `function` on an absolute path, is to fail. */
static int fails(const char *function, const char *path) {
    const char *inner = folder ? below(path) : NULL;
    if (!inner) return 0;
    if (record >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof line, "%s %s\n", function, inner);
        syscall(SYS_write, record, line, (size_t)length);
    }
    if (!wanted || strcmp(wanted, function)) return 0;
    if (atomic_load(&failing)) return 1;
    if (fnmatch(pattern, inner, 0) || atomic_fetch_add(&calls, 1) + 1 != wanted_call || !fire()) return 0;
    if (lasts) atomic_store(&failing, 1);
    return 1;
}

static int fails_at(const char *function, int at, const char *path) {
    char whole[2 * PATH_MAX], base[PATH_MAX];
    if (!folder || !path) return 0;
    if (path[0] == '/') return fails(function, path);
    if (at == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return 0;
        base[length] = 0;
    }
    while (path[0] == '.' && path[1] == '/') path += 2;
    snprintf(whole, sizeof whole, "%s/%s", base, path);
    return fails(function, whole);
}

static int fails_fd(const char *function, int fd) {
    char link[64], path[PATH_MAX];
    if (!folder || fd < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(function, path);
}

/* Fail with the error; in a function that can come short, only if an error is asked for. */
#define FAIL_IF(condition, value) \
    if (condition) {              \
        errno = error_number;     \
        return value;             \
    }
#define SHORTEN(count) ((count) > 1 ? (count) / 2 : (count))

/* ---- open: the log tells opening for reading from opening for writing ---- */

#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))
#define OPEN_NAME(flags) (WRITES(flags) ? "open_write" : "open_read")
#define MODE_OF(flags)                                    \
    mode_t mode = 0;                                      \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {              \
        va_list list;                                     \
        va_start(list, flags);                            \
        mode = va_arg(list, mode_t);                      \
        va_end(list);                                     \
    }

#define OPEN(name)                                                      \
    int name(const char *path, int flags, ...) {                        \
        static void *static_pointer;                                    \
        MODE_OF(flags)                                                  \
        FAIL_IF(fails_at(OPEN_NAME(flags), AT_FDCWD, path), -1)         \
        return REAL(name)(path, flags, mode);                           \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                    \
    int name(int at, const char *path, int flags, ...) {                \
        static void *static_pointer;                                    \
        MODE_OF(flags)                                                  \
        FAIL_IF(fails_at(OPEN_NAME(flags), at, path), -1)               \
        return REAL(name)(at, path, flags, mode);                       \
    }
OPENAT(openat)
OPENAT(openat64)

int __open_2(const char *, int);
int __open64_2(const char *, int);
#define OPEN_2(name)                                                    \
    int name(const char *path, int flags) {                             \
        static void *static_pointer;                                    \
        FAIL_IF(fails_at(OPEN_NAME(flags), AT_FDCWD, path), -1)         \
        return REAL(name)(path, flags);                                 \
    }
OPEN_2(__open_2)
OPEN_2(__open64_2)

#define FOPEN(name)                                                                        \
    FILE *name(const char *path, const char *mode) {                                       \
        static void *static_pointer;                                                       \
        const char *function = strpbrk(mode, "wa+") ? "open_write" : "open_read";          \
        FAIL_IF(fails_at(function, AT_FDCWD, path), NULL)                                  \
        return REAL(name)(path, mode);                                                     \
    }
FOPEN(fopen)
FOPEN(fopen64)

/* ---- bytes ---- */

#define TRANSFER(name, said, type)                                      \
    ssize_t name(int fd, type buffer, size_t count) {                   \
        static void *static_pointer;                                    \
        if (fails_fd(said, fd)) {                                       \
            FAIL_IF(error_number, -1)                                   \
            count = SHORTEN(count);                                     \
        }                                                               \
        return REAL(name)(fd, buffer, count);                           \
    }
TRANSFER(read, "read", void *)
TRANSFER(write, "write", const void *)

#define TRANSFER_AT(name, said, type, offset_type)                      \
    ssize_t name(int fd, type buffer, size_t count, offset_type at) {   \
        static void *static_pointer;                                    \
        if (fails_fd(said, fd)) {                                       \
            FAIL_IF(error_number, -1)                                   \
            count = SHORTEN(count);                                     \
        }                                                               \
        return REAL(name)(fd, buffer, count, at);                       \
    }
TRANSFER_AT(pread, "pread", void *, off_t)
TRANSFER_AT(pread64, "pread", void *, off64_t)
TRANSFER_AT(pwrite, "pwrite", const void *, off_t)
TRANSFER_AT(pwrite64, "pwrite", const void *, off64_t)

/* A short transfer of several buffers ends in the middle of the first. */
#define VECTOR(name, said, parameters, arguments)                       \
    ssize_t name parameters {                                           \
        static void *static_pointer;                                    \
        struct iovec half;                                              \
        if (fails_fd(said, fd)) {                                       \
            FAIL_IF(error_number, -1)                                   \
            half = parts[0];                                            \
            half.iov_len = SHORTEN(half.iov_len);                       \
            parts = &half;                                              \
            count = 1;                                                  \
        }                                                               \
        return REAL(name) arguments;                                    \
    }
VECTOR(readv, "preadv", (int fd, const struct iovec *parts, int count), (fd, parts, count))
VECTOR(writev, "pwritev", (int fd, const struct iovec *parts, int count), (fd, parts, count))
VECTOR(preadv, "preadv", (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at))
VECTOR(preadv64, "preadv", (int fd, const struct iovec *parts, int count, off64_t at), (fd, parts, count, at))
VECTOR(pwritev, "pwritev", (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at))
VECTOR(pwritev64, "pwritev", (int fd, const struct iovec *parts, int count, off64_t at), (fd, parts, count, at))
VECTOR(preadv2, "preadv", (int fd, const struct iovec *parts, int count, off_t at, int flags),
       (fd, parts, count, at, flags))
VECTOR(preadv64v2, "preadv", (int fd, const struct iovec *parts, int count, off64_t at, int flags),
       (fd, parts, count, at, flags))
VECTOR(pwritev2, "pwritev", (int fd, const struct iovec *parts, int count, off_t at, int flags),
       (fd, parts, count, at, flags))
VECTOR(pwritev64v2, "pwritev", (int fd, const struct iovec *parts, int count, off64_t at, int flags),
       (fd, parts, count, at, flags))

/* glibc's streams call the kernel without the functions above: the error flag of the stream is set as they would. */
#define STREAM(name, type)                                              \
    size_t name(type buffer, size_t size, size_t count, FILE *stream) { \
        static void *static_pointer;                                    \
        if (folder && fails_fd(#name, fileno(stream))) {                \
            stream->_flags |= 0x20;                                     \
            errno = error_number ? error_number : EIO;                  \
            return 0;                                                   \
        }                                                               \
        return REAL(name)(buffer, size, count, stream);                 \
    }
STREAM(fread, void *)
STREAM(fwrite, const void *)

/* ---- descriptors ---- */

#define ON_FD(name, said, parameters, arguments, value)                 \
    int name parameters {                                               \
        static void *static_pointer;                                    \
        FAIL_IF(fails_fd(said, fd), value)                              \
        return REAL(name) arguments;                                    \
    }
ON_FD(fsync, "fsync", (int fd), (fd), -1)
ON_FD(fdatasync, "fdatasync", (int fd), (fd), -1)
ON_FD(ftruncate, "ftruncate", (int fd, off_t size), (fd, size), -1)
ON_FD(ftruncate64, "ftruncate", (int fd, off64_t size), (fd, size), -1)
ON_FD(fallocate, "fallocate", (int fd, int how, off_t at, off_t size), (fd, how, at, size), -1)
ON_FD(fallocate64, "fallocate", (int fd, int how, off64_t at, off64_t size), (fd, how, at, size), -1)
ON_FD(posix_fallocate, "posix_fallocate", (int fd, off_t at, off_t size), (fd, at, size), error_number)
ON_FD(posix_fallocate64, "posix_fallocate", (int fd, off64_t at, off64_t size), (fd, at, size), error_number)
ON_FD(flock, "flock", (int fd, int operation), (fd, operation), -1)

int close(int fd) {
    static void *static_pointer;
    int flags = (int)syscall(SYS_fcntl, fd, F_GETFL);
    const char *function = flags >= 0 && (flags & O_ACCMODE) == O_RDONLY ? "close_read" : "close";
    int failed = fails_fd(function, fd), status = REAL(close)(fd); /* Linux closes the file also if it fails */
    FAIL_IF(failed, -1)
    return status;
}

#define FCNTL(name)                                                     \
    int name(int fd, int command, ...) {                                \
        static void *static_pointer;                                    \
        va_list list;                                                   \
        va_start(list, command);                                        \
        void *argument = va_arg(list, void *);                          \
        va_end(list);                                                   \
        int locks = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW; \
        FAIL_IF(locks && fails_fd("fcntl", fd), -1)                     \
        return REAL(name)(fd, command, argument);                       \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

#define MMAP(name, offset_type)                                                              \
    void *name(void *address, size_t size, int protection, int flags, int fd, offset_type at) { \
        static void *static_pointer;                                                         \
        FAIL_IF(!(flags & MAP_ANONYMOUS) && fails_fd("mmap", fd), MAP_FAILED)                \
        return REAL(name)(address, size, protection, flags, fd, at);                         \
    }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

/* ---- names ---- */

#define ON_PATH(name, said, at, path, parameters, arguments)            \
    int name parameters {                                               \
        static void *static_pointer;                                    \
        FAIL_IF(fails_at(said, at, path), -1)                           \
        return REAL(name) arguments;                                    \
    }
ON_PATH(unlink, "unlink", AT_FDCWD, path, (const char *path), (path))
ON_PATH(unlinkat, "unlink", at, path, (int at, const char *path, int flags), (at, path, flags))
ON_PATH(rmdir, "unlink", AT_FDCWD, path, (const char *path), (path))
ON_PATH(mkdir, "mkdir", AT_FDCWD, path, (const char *path, mode_t mode), (path, mode))
ON_PATH(mkdirat, "mkdir", at, path, (int at, const char *path, mode_t mode), (at, path, mode))
ON_PATH(rename, "rename", AT_FDCWD, to, (const char *from, const char *to), (from, to))
ON_PATH(renameat, "rename", to_at, to, (int from_at, const char *from, int to_at, const char *to),
        (from_at, from, to_at, to))
ON_PATH(renameat2, "rename", to_at, to, (int from_at, const char *from, int to_at, const char *to, unsigned int flags),
        (from_at, from, to_at, to, flags))

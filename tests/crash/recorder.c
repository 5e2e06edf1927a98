/* Records what a process does to the files below a folder, in the order in which it happened.
 *
 * Loaded by LD_PRELOAD before a store on the real disk: the index opens its files itself, so no file layer of ours sees
 * what it writes, syncs and renames. One mutex is held around each call and its record, so the record is one order.
 *
 *   HEADWATER_RECORD_ROOT  the folder, an absolute path without links
 *   HEADWATER_RECORD_LOG   where the record goes, outside of it
 *
 * An event: kind u8 | inode u64 | number u64 | length of path u32 | of second path u32 | of data u64 | these three.
 * What is not intercepted (mmap, io_uring, direct system calls) is found by the reader of the record: replayed to its
 * end, it must give the very files that are there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, TRUNCATE, WRITE, SYNC, SYNC_FOLDER, RENAME, UNLINK, MKDIR, RMDIR, LINK };

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static int record = -1;
static __thread int inside;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void begin(void) {
    static int begun;
    if (begun) return;
    begun = 1;
    const char *folder = getenv("HEADWATER_RECORD_ROOT"), *log = getenv("HEADWATER_RECORD_LOG");
    if (!folder || !log) return;
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    record = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static void lock(void) {
    pthread_mutex_lock(&turn);
    inside = 1;
    begin();
}

static void unlock(void) {
    int saved = errno;
    inside = 0;
    pthread_mutex_unlock(&turn);
    errno = saved;
}

/* The process ends in the middle of its work: hold the turn for good, so that nothing is done and left unrecorded. */
__attribute__((destructor)) static void end(void) {
    pthread_mutex_lock(&turn);
    inside = 1;
}

static int below(const char *path) {
    return record >= 0 && strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

static void put(const void *bytes, size_t length) {
    const char *at = bytes;
    while (length > 0) {
        ssize_t done = REAL(write)(record, at, length);
        if (done <= 0) abort();
        at += done;
        length -= (size_t)done;
    }
}

static void event(uint8_t kind, uint64_t inode, uint64_t number, const char *path, const char *second, const void *data,
                  uint64_t length) {
    int saved = errno;
    uint32_t path_length = path ? strlen(path) : 0, second_length = second ? strlen(second) : 0;
    unsigned char head[33];
    head[0] = kind;
    memcpy(head + 1, &inode, 8);
    memcpy(head + 9, &number, 8);
    memcpy(head + 17, &path_length, 4);
    memcpy(head + 21, &second_length, 4);
    memcpy(head + 25, &length, 8);
    put(head, sizeof head);
    put(path, path_length);
    put(second, second_length);
    put(data, length);
    errno = saved;
}

/* The absolute path of a path argument. */
static const char *whole(int folder, const char *path, char *buffer) {
    if (path[0] == '/') return path;
    char base[PATH_MAX];
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return path;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return path;
        base[length] = 0;
    }
    snprintf(buffer, PATH_MAX, "%s/%s", base, path);
    return buffer;
}

/* Whether an open file lies below the folder; its inode, and its path in `buffer`. */
static int known(int file, struct stat *status, char *buffer) {
    if (record < 0 || file == record) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length <= 0) return 0;
    buffer[length] = 0;
    return below(buffer) && fstat(file, status) == 0;
}

static int opened(int (*call)(int, const char *, int, mode_t), int folder, const char *path, int flags, mode_t mode) {
    if (inside) return call(folder, path, flags, mode);
    lock();
    char buffer[PATH_MAX];
    const char *full = whole(folder, path, buffer);
    struct stat status;
    int mine = below(full), there = mine && lstat(full, &status) == 0;
    int file = call(folder, path, flags, mode);
    if (mine && file >= 0 && fstat(file, &status) == 0 && S_ISREG(status.st_mode)) {
        if (!there && (flags & O_CREAT)) event(CREATE, status.st_ino, 0, full, NULL, NULL, 0);
        else if (flags & O_TRUNC) event(TRUNCATE, status.st_ino, 0, NULL, NULL, NULL, 0);
    }
    unlock();
    return file;
}

static int real_openat(int folder, const char *path, int flags, mode_t mode) {
    return REAL(openat)(folder, path, flags, mode);
}

#define MODE(flags, mode)                                     \
    mode_t mode = 0;                                          \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                  \
        va_list arguments;                                    \
        va_start(arguments, flags);                           \
        mode = va_arg(arguments, mode_t);                     \
        va_end(arguments);                                    \
    }

int open(const char *path, int flags, ...) { MODE(flags, mode) return opened(real_openat, AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, mode) return opened(real_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags, mode) return opened(real_openat, folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags, mode) return opened(real_openat, folder, path, flags | O_LARGEFILE, mode); }
int creat(const char *path, mode_t mode) { return opened(real_openat, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

static void written(int file, off_t offset, const void *data, ssize_t length) {
    struct stat status;
    char buffer[PATH_MAX];
    if (length > 0 && known(file, &status, buffer)) event(WRITE, status.st_ino, (uint64_t)offset, NULL, NULL, data, (uint64_t)length);
}

/* Where a plain write begins: at the end of the file when it appends. */
static off_t place(int file) {
    int flags = fcntl(file, F_GETFL);
    return lseek(file, 0, flags >= 0 && (flags & O_APPEND) ? SEEK_END : SEEK_CUR);
}

ssize_t write(int file, const void *data, size_t length) {
    if (inside) return REAL(write)(file, data, length);
    lock();
    struct stat status;
    char buffer[PATH_MAX];
    off_t offset = known(file, &status, buffer) && S_ISREG(status.st_mode) ? place(file) : -1;
    ssize_t done = REAL(write)(file, data, length);
    if (offset >= 0) written(file, offset, data, done);
    unlock();
    return done;
}

static ssize_t placed(int file, const void *data, size_t length, off_t offset) {
    if (inside) return REAL(pwrite)(file, data, length, offset);
    lock();
    ssize_t done = REAL(pwrite)(file, data, length, offset);
    written(file, offset, data, done);
    unlock();
    return done;
}

ssize_t pwrite(int file, const void *data, size_t length, off_t offset) { return placed(file, data, length, offset); }
ssize_t pwrite64(int file, const void *data, size_t length, off64_t offset) { return placed(file, data, length, offset); }

static void written_parts(int file, off_t offset, const struct iovec *parts, int count, ssize_t length) {
    for (int part = 0; part < count && length > 0; part++) {
        ssize_t here = (ssize_t)parts[part].iov_len < length ? (ssize_t)parts[part].iov_len : length;
        written(file, offset, parts[part].iov_base, here);
        offset += here;
        length -= here;
    }
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    if (inside) return REAL(writev)(file, parts, count);
    lock();
    struct stat status;
    char buffer[PATH_MAX];
    off_t offset = known(file, &status, buffer) && S_ISREG(status.st_mode) ? place(file) : -1;
    ssize_t done = REAL(writev)(file, parts, count);
    if (offset >= 0) written_parts(file, offset, parts, count, done);
    unlock();
    return done;
}

static ssize_t placed_parts(int file, const struct iovec *parts, int count, off_t offset) {
    if (inside) return REAL(pwritev)(file, parts, count, offset);
    lock();
    ssize_t done = REAL(pwritev)(file, parts, count, offset);
    written_parts(file, offset, parts, count, done);
    unlock();
    return done;
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset) { return placed_parts(file, parts, count, offset); }
ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t offset) { return placed_parts(file, parts, count, offset); }

/* A copy inside the kernel is recorded as a write of what arrived. */
ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t length, unsigned flags) {
    if (inside) return REAL(copy_file_range)(from, from_offset, to, to_offset, length, flags);
    lock();
    off_t offset = to_offset ? *to_offset : lseek(to, 0, SEEK_CUR);
    ssize_t done = REAL(copy_file_range)(from, from_offset, to, to_offset, length, flags);
    void *data = done > 0 ? malloc((size_t)done) : NULL;
    if (data && REAL(pread)(to, data, (size_t)done, offset) == done) written(to, offset, data, done);
    free(data);
    unlock();
    return done;
}

static int synced(int (*call)(int), int file) {
    if (inside) return call(file);
    lock();
    int done = call(file);
    struct stat status;
    char buffer[PATH_MAX];
    if (done == 0 && known(file, &status, buffer)) {
        int folder = S_ISDIR(status.st_mode);
        event(folder ? SYNC_FOLDER : SYNC, status.st_ino, 0, folder ? buffer : NULL, NULL, NULL, 0);
    }
    unlock();
    return done;
}

int fsync(int file) { return synced(REAL(fsync), file); }
int fdatasync(int file) { return synced(REAL(fdatasync), file); }
/* sync_file_range promises nothing about metadata: it is recorded as nothing. */

static int cut(int file, off_t length) {
    if (inside) return REAL(ftruncate)(file, length);
    lock();
    int done = REAL(ftruncate)(file, length);
    struct stat status;
    char buffer[PATH_MAX];
    if (done == 0 && known(file, &status, buffer)) event(TRUNCATE, status.st_ino, (uint64_t)length, NULL, NULL, NULL, 0);
    unlock();
    return done;
}

int ftruncate(int file, off_t length) { return cut(file, length); }
int ftruncate64(int file, off64_t length) { return cut(file, length); }

static int renamed(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    if (inside) return REAL(renameat2)(from_folder, from, to_folder, to, flags);
    lock();
    char first[PATH_MAX], second[PATH_MAX];
    const char *full_from = whole(from_folder, from, first), *full_to = whole(to_folder, to, second);
    int done = REAL(renameat2)(from_folder, from, to_folder, to, flags);
    if (done == 0 && (below(full_from) || below(full_to))) event(RENAME, 0, 0, full_from, full_to, NULL, 0);
    unlock();
    return done;
}

int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_folder, const char *from, int to_folder, const char *to) { return renamed(from_folder, from, to_folder, to, 0); }
int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) { return renamed(from_folder, from, to_folder, to, flags); }

static int removed(int folder, const char *path, int flags) {
    if (inside) return REAL(unlinkat)(folder, path, flags);
    lock();
    char buffer[PATH_MAX];
    const char *full = whole(folder, path, buffer);
    int done = REAL(unlinkat)(folder, path, flags);
    if (done == 0 && below(full)) event(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, full, NULL, NULL, 0);
    unlock();
    return done;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return removed(folder, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }

static int made(int folder, const char *path, mode_t mode) {
    if (inside) return REAL(mkdirat)(folder, path, mode);
    lock();
    char buffer[PATH_MAX];
    const char *full = whole(folder, path, buffer);
    int done = REAL(mkdirat)(folder, path, mode);
    if (done == 0 && below(full)) event(MKDIR, 0, 0, full, NULL, NULL, 0);
    unlock();
    return done;
}

int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return made(folder, path, mode); }

static int linked(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    if (inside) return REAL(linkat)(from_folder, from, to_folder, to, flags);
    lock();
    char first[PATH_MAX], second[PATH_MAX];
    const char *full_from = whole(from_folder, from, first), *full_to = whole(to_folder, to, second);
    int done = REAL(linkat)(from_folder, from, to_folder, to, flags);
    if (done == 0 && below(full_to)) event(LINK, 0, 0, full_from, full_to, NULL, 0);
    unlock();
    return done;
}

int link(const char *from, const char *to) { return linked(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) { return linked(from_folder, from, to_folder, to, flags); }

/* Records what a process does to the files of one folder, by LD_PRELOAD.
 *
 * Owns: the calls that change a file, a name or its durability, in their order. Must never know
 * what the bytes mean. One thread writes; the folder's path is absolute and free of links.
 *
 *   DKV_RECORD_FOLDER   whose files
 *   DKV_RECORD_TRACE    where the records go: struct record, name, data
 *   DKV_FAIL_SYNC=n     the n-th sync of a file answers EIO, the later ones succeed, as in Linux
 *   DKV_FAIL_WRITE=n    the n-th write stops halfway, the later ones answer ENOSPC
 *   DKV_KILL_SYNC=n     the process dies instead of the n-th sync of a file
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES_MAX 1024
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

struct __attribute__((packed)) record {
    char kind; /* Create Write Truncate Sync Folder-sync Unlink Rename; Error sync, Halt write */
    int64_t offset;
    uint32_t name_bytes, data_bytes;
};

static char *names[FILES_MAX]; /* of open files; "" is the folder itself */
static const char *folder;
static int trace = -1;
static long fail_sync, fail_write, kill_sync, syncs, writes;

static long number(const char *variable) {
    const char *text = getenv(variable);
    return text ? atol(text) : 0;
}

__attribute__((constructor)) static void begin(void) {
    folder = getenv("DKV_RECORD_FOLDER");
    const char *path = getenv("DKV_RECORD_TRACE");
    fail_sync = number("DKV_FAIL_SYNC");
    fail_write = number("DKV_FAIL_WRITE");
    kill_sync = number("DKV_KILL_SYNC");
    if (folder && path)
        trace = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static const char *name_of_path(const char *path) {
    size_t bytes = folder ? strlen(folder) : 0;
    if (trace < 0 || !path || strncmp(path, folder, bytes))
        return NULL;
    return path[bytes] == '/' ? path + bytes + 1 : path[bytes] ? NULL : "";
}

static const char *name_of(int file) {
    return file >= 0 && file < FILES_MAX ? names[file] : NULL;
}

static void record(char kind, const char *name, int64_t offset, const void *data, size_t bytes) {
    struct record head = {kind, offset, strlen(name), bytes};
    struct iovec parts[] = {
        {&head, sizeof head}, {(void *)name, head.name_bytes}, {(void *)data, bytes}};
    if (REAL(writev)(trace, parts, 3) != (ssize_t)(sizeof head + head.name_bytes + bytes))
        abort();
}

/* -- names --------------------------------------------------------------------------------- */
static int opened(int file, const char *path, int flags, int existed) {
    const char *name = name_of_path(path);
    if (file < 0 || !name)
        return file;
    if (file >= FILES_MAX)
        abort();
    free(names[file]);
    names[file] = strdup(name);
    if (!existed)
        record('C', name, 0, NULL, 0);
    else if (flags & O_TRUNC)
        record('T', name, 0, NULL, 0);
    return file;
}

#define OPEN(call)                                                                                 \
    int call(const char *path, int flags, ...) {                                                   \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                                  \
        va_end(more);                                                                              \
        int existed = !access(path, F_OK);                                                         \
        return opened(REAL(call)(path, flags, mode), path, flags, existed);                        \
    }
OPEN(open)
OPEN(open64)

int close(int file) {
    if (name_of(file)) {
        free(names[file]);
        names[file] = NULL;
    }
    return REAL(close)(file);
}

int unlink(const char *path) {
    int done = REAL(unlink)(path);
    if (!done && name_of_path(path))
        record('U', name_of_path(path), 0, NULL, 0);
    return done;
}

int rename(const char *from, const char *to) {
    int done = REAL(rename)(from, to);
    const char *name = name_of_path(from), *other = name_of_path(to);
    if (!done && name && other)
        record('R', name, 0, other, strlen(other));
    return done;
}

/* -- contents ------------------------------------------------------------------------------ */
static ssize_t allowed(const char *name, size_t bytes) {
    if (!name || !fail_write || !strcmp(name, "marks") || ++writes < fail_write)
        return bytes;
    if (writes == fail_write)
        record('H', name, 0, NULL, 0);
    if (writes == fail_write && bytes > 1)
        return bytes / 2;
    errno = ENOSPC;
    return -1;
}

static ssize_t written(const char *name, int64_t offset, const void *data, ssize_t done) {
    if (name && done > 0)
        record('W', name, offset, data, done);
    return done;
}

#define PWRITE(call, offset_type)                                                                  \
    ssize_t call(int file, const void *data, size_t bytes, offset_type offset) {                   \
        ssize_t some = allowed(name_of(file), bytes);                                              \
        if (some < 0)                                                                              \
            return some;                                                                           \
        return written(name_of(file), offset, data, REAL(call)(file, data, some, offset));         \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int file, const void *data, size_t bytes) {
    if (!name_of(file))
        return REAL(write)(file, data, bytes);
    ssize_t some = allowed(name_of(file), bytes);
    if (some < 0)
        return some;
    ssize_t done = REAL(write)(file, data, some);
    return written(name_of(file), lseek(file, 0, SEEK_CUR) - done, data, done);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    if (!name_of(file))
        return REAL(writev)(file, parts, count);
    ssize_t sum = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = write(file, parts[i].iov_base, parts[i].iov_len);
        if (done < 0)
            return sum ? sum : done;
        sum += done;
        if (done < (ssize_t)parts[i].iov_len)
            break;
    }
    return sum;
}

#define TRUNCATE(call, size_type)                                                                  \
    int call(int file, size_type size) {                                                           \
        int done = REAL(call)(file, size);                                                         \
        if (!done && name_of(file))                                                                \
            record('T', name_of(file), size, NULL, 0);                                             \
        return done;                                                                               \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

/* -- durability ---------------------------------------------------------------------------- */
static int synced(int file, int (*sync)(int)) {
    const char *name = name_of(file);
    if (name && *name) {
        if (++syncs == kill_sync)
            _exit(137);
        if (syncs == fail_sync) {
            record('E', name, 0, NULL, 0);
            errno = EIO;
            return -1;
        }
    }
    int done = sync(file);
    if (!done && name)
        record(*name ? 'S' : 'F', name, 0, NULL, 0);
    return done;
}

int fsync(int file) { return synced(file, REAL(fsync)); }

int fdatasync(int file) { return synced(file, REAL(fdatasync)); }

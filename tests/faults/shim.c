/* Stands between a program and the C library, and does to its files what disks, systems and power cuts do.
 *
 *   cc -O1 -shared -fPIC -o shim.so shim.c -ldl        LD_PRELOAD=shim.so program
 *
 * FAULTS_ROOT     the folder whose files are meant; nothing else is touched
 * FAULTS_CONTROL  a file of a struct control, through which a fault is armed while the program runs
 * FAULTS_SHADOW   a folder that keeps what is durable: the content of each file at its last sync, and of each folder
 *                 its names at its last sync. All else is lost in a power cut.
 *
 * Source of the idea: SQLite's test VFS (a call fails at the n-th time, n = 1, 2, 3 ...), and LazyFS (un-synced data). */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum kind { CREATE, WRITE, SYNC, SYNC_FOLDER, RENAME, LINK, UNLINK, TRUNCATE, MKDIR, READ, OPEN, KINDS };
enum action { NOTHING, KILL_BEFORE, KILL_AFTER, TORN, FAIL, FLIP };
enum notices { HEARD, DROPPED, DOUBLED, OVERFLOWN };

struct control {
    int32_t action, kinds, roles, countdown, times, error, fired, fired_kind;
    char only[64];   /* the path must contain this */
    char where[512]; /* the path at which the fault happened */
    int64_t seen[KINDS];
    int64_t clock;   /* seconds by which the clock on the wall is wrong */
    int32_t notices, notices_left, notices_met, told; /* what becomes of so many reads of file notifications */
};

enum { MAIN = 1, WORKER = 2, FILES = 65536 };
static struct control *control;
static char root[PATH_MAX], shadow[PATH_MAX];
static size_t root_length;
static int role = MAIN;
static unsigned char ours[FILES];

#define REAL(name, result, ...)                                       \
    static result (*real_##name)(__VA_ARGS__);                        \
    static void find_##name(void) {                                   \
        if (!real_##name) *(void **)&real_##name = dlsym(RTLD_NEXT, #name); \
    }
REAL(open, int, const char *, int, ...)
REAL(openat, int, int, const char *, int, ...)
REAL(close, int, int)
REAL(read, ssize_t, int, void *, size_t)
REAL(pread, ssize_t, int, void *, size_t, off_t)
REAL(write, ssize_t, int, const void *, size_t)
REAL(pwrite, ssize_t, int, const void *, size_t, off_t)
REAL(fsync, int, int)
REAL(fdatasync, int, int)
REAL(rename, int, const char *, const char *)
REAL(link, int, const char *, const char *)
REAL(unlink, int, const char *)
REAL(unlinkat, int, int, const char *, int)
REAL(ftruncate, int, int, off_t)
REAL(mkdir, int, const char *, mode_t)
REAL(sendfile, ssize_t, int, int, off_t *, size_t)
REAL(clock_gettime, int, clockid_t, struct timespec *)

static void seed(const char *folder);

__attribute__((constructor)) static void start(void) {
    find_open(), find_openat(), find_close(), find_read(), find_pread(), find_write(), find_pwrite(), find_fsync();
    find_fdatasync(), find_rename(), find_link(), find_unlink(), find_unlinkat(), find_ftruncate(), find_mkdir();
    find_sendfile(), find_clock_gettime();
    const char *folder = getenv("FAULTS_ROOT"), *file = getenv("FAULTS_CONTROL"), *durable = getenv("FAULTS_SHADOW");
    if (!folder || !file) return;
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    char words[4096] = {0};
    int handle = real_open("/proc/self/cmdline", O_RDONLY);
    ssize_t length = real_read(handle, words, sizeof words - 1);
    real_close(handle);
    for (ssize_t place = 0; place < length; place++)
        if (!strncmp(words + place, "spawn_main", 10)) role = WORKER;
    handle = real_open(file, O_RDWR);
    if (handle < 0) return;
    void *seen = mmap(0, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
    real_close(handle);
    if (durable) {
        char mark[PATH_MAX + 16];
        snprintf(shadow, sizeof shadow, "%s", durable);
        snprintf(mark, sizeof mark, "%s/seeded", shadow);
        handle = real_open(mark, O_CREAT | O_EXCL | O_WRONLY, 0600);
        if (handle >= 0) {
            real_close(handle);
            seed(root);
        }
    }
    if (seen != MAP_FAILED) control = seen;
}

/* ---- which files are meant */

static int below_root(const char *path) {
    return root_length && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static void path_of(int handle, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, size - 1);
    path[length < 0 ? 0 : length] = 0;
}

static int is_ours(int handle) { return control && handle >= 0 && handle < FILES && ours[handle]; }

static void opened(int handle) {
    char path[PATH_MAX];
    if (handle < 0 || handle >= FILES || !root_length) return;
    path_of(handle, path, sizeof path);
    ours[handle] = below_root(path);
}

/* ---- the fault that is armed */

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* What to do now: the armed action, if this call is its turn. */
static int turn(enum kind kind, const char *path, int handle) {
    char known[PATH_MAX];
    if (!control) return NOTHING;
    __sync_fetch_and_add(&control->seen[kind], 1);
    int action = control->action;
    if (!action || !(control->kinds >> kind & 1) || !(control->roles & role)) return NOTHING;
    if (!path) path_of(handle, known, sizeof known), path = known;
    if (control->only[0] && !strstr(path, control->only)) return NOTHING;
    int left = __sync_sub_and_fetch(&control->countdown, 1);
    if (left > 0) return NOTHING;
    if (left <= -control->times) {
        control->action = NOTHING;
        return NOTHING;
    }
    control->fired_kind = kind;
    snprintf(control->where, sizeof control->where, "%.500s", path);
    __sync_fetch_and_add(&control->fired, 1);
    if (action == KILL_BEFORE) die();
    return action;
}

#define FAILS(kind, path, handle)                 \
    int action = turn(kind, path, handle);        \
    if (action == FAIL) {                         \
        errno = control->error;                   \
        return -1;                                \
    }
#define DONE(result)                              \
    do {                                          \
        if (action == KILL_AFTER) die();          \
        return result;                            \
    } while (0)

/* ---- what is durable */

static int key_of(int handle, const char *path, char *key, size_t size, int *folder) {
    struct statx found;
    unsigned int wanted = STATX_INO | STATX_BTIME | STATX_TYPE;
    int flags = handle >= 0 ? AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW;
    if (statx(handle >= 0 ? handle : AT_FDCWD, handle >= 0 ? "" : path, flags, wanted, &found)) return -1;
    *folder = S_ISDIR(found.stx_mode);
    snprintf(key, size, "%llu.%lld.%u", (unsigned long long)found.stx_ino, (long long)found.stx_btime.tv_sec,
             found.stx_btime.tv_nsec);
    return 0;
}

static int begin(const char *key, const char *kind, char *part, char *whole, size_t size) {
    snprintf(part, size, "%s/%s.%s.%d.%lx", shadow, key, kind, getpid(), (unsigned long)pthread_self());
    snprintf(whole, size, "%s/%s.%s", shadow, key, kind);
    return real_open(part, O_CREAT | O_TRUNC | O_WRONLY, 0600);
}

static void keep_file(int handle, const char *key) {
    char part[2 * PATH_MAX], whole[2 * PATH_MAX], source[64], block[1 << 16];
    snprintf(source, sizeof source, "/proc/self/fd/%d", handle);
    int from = real_open(source, O_RDONLY), to = begin(key, "data", part, whole, sizeof part);
    for (ssize_t length; (length = real_read(from, block, sizeof block)) > 0;)
        if (real_write(to, block, length) != length) abort();
    real_close(from), real_close(to);
    real_rename(part, whole);
}

static void keep_folder(const char *path, const char *key) {
    char part[2 * PATH_MAX], whole[2 * PATH_MAX], place[2 * PATH_MAX], line[PATH_MAX], name[128];
    int to = begin(key, "names", part, whole, sizeof part), folder;
    DIR *listing = opendir(path);
    for (struct dirent *entry; listing && (entry = readdir(listing));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(place, sizeof place, "%s/%s", path, entry->d_name);
        if (key_of(-1, place, name, sizeof name, &folder)) continue;
        int length = snprintf(line, sizeof line, "%c %s %s", folder ? 'd' : 'f', name, entry->d_name);
        if (real_write(to, line, length + 1) != length + 1) abort();
    }
    if (listing) closedir(listing);
    real_close(to);
    real_rename(part, whole);
}

static void keep(int handle) {
    char key[128], path[PATH_MAX];
    int folder;
    if (!shadow[0] || key_of(handle, 0, key, sizeof key, &folder)) return;
    /* One at a time: what was seen first must not be put down last. */
    snprintf(path, sizeof path, "%.4000s/seeded", shadow);
    int lock = real_open(path, O_RDWR);
    flock(lock, LOCK_EX);
    if (folder) {
        path_of(handle, path, sizeof path);
        keep_folder(path, key);
    } else {
        keep_file(handle, key);
    }
    real_close(lock);
}

/* All that lies there at the start is durable. */
static void seed(const char *path) {
    char key[128], place[2 * PATH_MAX];
    int folder;
    if (key_of(-1, path, key, sizeof key, &folder)) return;
    if (!folder) {
        int handle = real_open(path, O_RDONLY);
        keep_file(handle, key);
        real_close(handle);
        return;
    }
    DIR *listing = opendir(path);
    for (struct dirent *entry; listing && (entry = readdir(listing));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(place, sizeof place, "%s/%s", path, entry->d_name);
        seed(place);
    }
    if (listing) closedir(listing);
    keep_folder(path, key);
}

/* ---- the calls */

static int opening(const char *path, int flags) {
    if (!control || !path || !below_root(path)) return NOTHING;
    return turn(flags & O_CREAT ? CREATE : OPEN, path, -1);
}

#define OPENING(call)                             \
    int mode = 0;                                 \
    if (flags & (O_CREAT | __O_TMPFILE)) {        \
        va_list rest;                             \
        va_start(rest, flags);                    \
        mode = va_arg(rest, int);                 \
        va_end(rest);                             \
    }                                             \
    int action = opening(path, flags);            \
    if (action == FAIL) {                         \
        errno = control->error;                   \
        return -1;                                \
    }                                             \
    int handle = call;                            \
    opened(handle);                               \
    DONE(handle);

int open(const char *path, int flags, ...) { find_open(); OPENING(real_open(path, flags, mode)) }
int open64(const char *path, int flags, ...) { find_open(); OPENING(real_open(path, flags, mode)) }
int openat(int at, const char *path, int flags, ...) { find_openat(); OPENING(real_openat(at, path, flags, mode)) }
int openat64(int at, const char *path, int flags, ...) { find_openat(); OPENING(real_openat(at, path, flags, mode)) }

int close(int handle) {
    find_close();
    if (handle >= 0 && handle < FILES) ours[handle] = 0;
    return real_close(handle);
}

/* What was read of the system's notifications of files, or what becomes of it. */
static ssize_t noticed(ssize_t length, char *data, size_t size) {
    if (length <= 0 || __sync_sub_and_fetch(&control->notices_left, 1) < 0) return length;
    __sync_fetch_and_add(&control->notices_met, 1);
    switch (control->notices) {
    case DROPPED:
        errno = EINTR; /* the caller reads on */
        return -1;
    case DOUBLED:
        if ((size_t)length * 2 > size) return length;
        memcpy(data + length, data, length);
        return length * 2;
    case OVERFLOWN:
        memset(data, 0, sizeof(struct inotify_event));
        ((struct inotify_event *)data)->wd = -1;
        ((struct inotify_event *)data)->mask = IN_Q_OVERFLOW;
        return sizeof(struct inotify_event);
    }
    return length;
}

static int is_notices(int handle) {
    char path[PATH_MAX];
    if (!control || control->notices_left <= 0) return 0;
    path_of(handle, path, sizeof path);
    return !strcmp(path, "anon_inode:inotify");
}

ssize_t read(int handle, void *data, size_t size) {
    find_read();
    if (is_ours(handle)) {
        FAILS(READ, 0, handle)
        DONE(real_read(handle, data, size));
    }
    ssize_t length = real_read(handle, data, size);
    return is_notices(handle) ? noticed(length, data, size) : length;
}

ssize_t pread(int handle, void *data, size_t size, off_t at) {
    find_pread();
    if (!is_ours(handle)) return real_pread(handle, data, size, at);
    FAILS(READ, 0, handle)
    DONE(real_pread(handle, data, size, at));
}
ssize_t pread64(int handle, void *data, size_t size, off_t at) { return pread(handle, data, size, at); }

/* The data with one bit turned, where that is the fault. */
static const void *flipped(int action, const void *data, size_t size, void **made) {
    *made = 0;
    if (action != FLIP || !size || !(*made = malloc(size))) return data;
    memcpy(*made, data, size);
    ((char *)*made)[size / 2] ^= 4;
    return *made;
}

ssize_t write(int handle, const void *data, size_t size) {
    void *made;
    find_write();
    if (!is_ours(handle)) return real_write(handle, data, size);
    FAILS(WRITE, 0, handle)
    if (action == TORN) real_write(handle, data, size / 2), die();
    ssize_t done = real_write(handle, flipped(action, data, size, &made), size);
    free(made);
    DONE(done);
}

ssize_t pwrite(int handle, const void *data, size_t size, off_t at) {
    void *made;
    find_pwrite();
    if (!is_ours(handle)) return real_pwrite(handle, data, size, at);
    FAILS(WRITE, 0, handle)
    if (action == TORN) real_pwrite(handle, data, size / 2, at), die();
    ssize_t done = real_pwrite(handle, flipped(action, data, size, &made), size, at);
    free(made);
    DONE(done);
}
ssize_t pwrite64(int handle, const void *data, size_t size, off_t at) { return pwrite(handle, data, size, at); }

ssize_t sendfile(int to, int from, off_t *at, size_t size) {
    find_sendfile();
    if (!is_ours(to)) return real_sendfile(to, from, at, size);
    FAILS(WRITE, 0, to)
    if (action == TORN) real_sendfile(to, from, at, size / 2), die();
    DONE(real_sendfile(to, from, at, size));
}
ssize_t sendfile64(int to, int from, off_t *at, size_t size) { return sendfile(to, from, at, size); }

static int synced(int handle, int (*sync)(int)) {
    struct stat found;
    if (!is_ours(handle)) return sync(handle);
    int folder = !fstat(handle, &found) && S_ISDIR(found.st_mode);
    FAILS(folder ? SYNC_FOLDER : SYNC, 0, handle)
    int result = sync(handle);
    if (!result) keep(handle);
    DONE(result);
}
int fsync(int handle) { find_fsync(); return synced(handle, real_fsync); }
int fdatasync(int handle) { find_fdatasync(); return synced(handle, real_fdatasync); }

int rename(const char *from, const char *to) {
    find_rename();
    if (!control || !below_root(to)) return real_rename(from, to);
    FAILS(RENAME, to, -1)
    DONE(real_rename(from, to));
}

int link(const char *from, const char *to) {
    find_link();
    if (!control || !below_root(to)) return real_link(from, to);
    FAILS(LINK, to, -1)
    DONE(real_link(from, to));
}

int unlink(const char *path) {
    find_unlink();
    if (!control || !below_root(path)) return real_unlink(path);
    FAILS(UNLINK, path, -1)
    DONE(real_unlink(path));
}

int unlinkat(int at, const char *path, int flags) {
    find_unlinkat();
    if (!control || !(at >= 0 ? is_ours(at) : below_root(path))) return real_unlinkat(at, path, flags);
    FAILS(UNLINK, path, -1)
    DONE(real_unlinkat(at, path, flags));
}

int ftruncate(int handle, off_t size) {
    find_ftruncate();
    if (!is_ours(handle)) return real_ftruncate(handle, size);
    FAILS(TRUNCATE, 0, handle)
    DONE(real_ftruncate(handle, size));
}
int ftruncate64(int handle, off_t size) { return ftruncate(handle, size); }

int mkdir(const char *path, mode_t mode) {
    find_mkdir();
    if (!control || !below_root(path)) return real_mkdir(path, mode);
    FAILS(MKDIR, path, -1)
    DONE(real_mkdir(path, mode));
}

/* ---- the clock on the wall; that which only runs forward is left alone */

int clock_gettime(clockid_t clock, struct timespec *now) {
    find_clock_gettime();
    int result = real_clock_gettime(clock, now);
    if (!result && control && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += control->clock;
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec, now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}

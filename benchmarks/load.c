// A load generator that is not the bottleneck: one request in flight on each of many connections.
//
//   load frames|http SOCKET CONNECTIONS SECONDS <REQUEST
//
// REQUEST is sent as it stands, but for a first run of 16 '#', in whose place a number counts up. After
// SECONDS nothing more is sent, and what is in flight has DRAIN_SECS to come; what doesn't is lost.
// Prints one line: replies, seconds, replies that weren't ok, connections lost, the latencies p50 and
// p99 in microseconds, and the seconds of CPU that this program took itself.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 16, EVENTS = 256, DIGITS = 16, DRAIN_SECS = 5 };

struct connection {
  int fd;
  double sent;  // 0: nothing is in flight
  size_t have;
  char buffer[BUFFER];
};

static char request[BUFFER], *place;
static size_t request_size;
static int is_http;
static struct { double *at; size_t count, room; } latencies;
static long not_ok, lost, in_flight;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_seconds(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double percentile(double share) {
  return latencies.count ? latencies.at[(size_t)(latencies.count * share)] * 1e6 : 0;
}

static void note_latency(double seconds) {
  if (latencies.count == latencies.room) {
    latencies.room = latencies.room ? 2 * latencies.room : 1 << 20;
    latencies.at = realloc(latencies.at, latencies.room * sizeof *latencies.at);
    if (!latencies.at) fail("realloc");
  }
  latencies.at[latencies.count++] = seconds;
}

static void lose(struct connection *c) {
  if (c->sent) in_flight--;
  c->sent = 0;
  close(c->fd);
  lost++;
}

static void ask(struct connection *c) {
  static unsigned long counter;
  char digits[DIGITS + 1];
  if (place) {
    snprintf(digits, sizeof digits, "%0*lu", DIGITS, ++counter);
    memcpy(place, digits, DIGITS);
  }
  c->sent = now();
  in_flight++;
  if (send(c->fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size) lose(c);
}

// The size of the reply that the buffer begins with, 0 while it isn't whole.
static size_t framed_reply(const struct connection *c, int *ok) {
  uint32_t length;
  if (c->have < sizeof length) return 0;
  memcpy(&length, c->buffer, sizeof length);
  size_t size = sizeof length + ntohl(length);
  if (c->have < size) return 0;
  *ok = memmem(c->buffer, size, "\"ok\":true", 9) != NULL;
  return size;
}

static size_t http_reply(const struct connection *c, int *ok) {
  const char *end = memmem(c->buffer, c->have, "\r\n\r\n", 4);
  if (!end) return 0;
  const char *length = strcasestr(c->buffer, "\r\ncontent-length:");
  if (!length || length > end) { fprintf(stderr, "a reply without Content-Length\n"); exit(1); }
  size_t size = end + 4 - c->buffer + strtoul(length + 17, NULL, 10);
  if (c->have < size) return 0;
  *ok = !strncmp(c->buffer, "HTTP/1.1 2", 10);
  return size;
}

static void hear(struct connection *c, int go_on) {
  ssize_t got = recv(c->fd, c->buffer + c->have, BUFFER - 1 - c->have, 0);
  if (got <= 0) { lose(c); return; }
  c->have += got;
  c->buffer[c->have] = 0;
  int ok = 0;
  size_t size = is_http ? http_reply(c, &ok) : framed_reply(c, &ok);
  if (!size) return;
  note_latency(now() - c->sent);
  not_ok += !ok || c->have != size;  // nothing may follow the only reply that is due
  in_flight--;
  c->sent = 0;
  c->have = 0;
  if (go_on) ask(c);
}

static void dial(struct connection *c, const char *path, int epoll) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) { fprintf(stderr, "%s: too long for a socket\n", path); exit(2); }
  strcpy(address.sun_path, path);
  c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (c->fd < 0 || connect(c->fd, (void *)&address, sizeof address)) fail(path);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event)) fail("epoll_ctl");
}

int main(int argc, char **argv) {
  if (argc != 5) { fprintf(stderr, "usage: load frames|http SOCKET CONNECTIONS SECONDS <REQUEST\n"); return 2; }
  is_http = !strcmp(argv[1], "http");
  int count = atoi(argv[3]), epoll = epoll_create1(0);
  request_size = fread(request, 1, sizeof request - 1, stdin);
  place = memmem(request, request_size, "################", DIGITS);
  struct connection *all = calloc(count, sizeof *all);
  if (!all) fail("calloc");
  for (int i = 0; i < count; i++) dial(&all[i], argv[2], epoll);
  double start = now(), end = start + atof(argv[4]), last = start;
  for (int i = 0; i < count; i++) ask(&all[i]);
  while (in_flight && last < end + DRAIN_SECS) {
    struct epoll_event ready[EVENTS];
    int events = epoll_wait(epoll, ready, EVENTS, 100);
    if (events < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < events; i++) hear(ready[i].data.ptr, last < end);
    last = now();
  }
  lost += in_flight;
  qsort(latencies.at, latencies.count, sizeof *latencies.at, ascending);
  printf("%zu %.6f %ld %ld %.1f %.1f %.6f\n", latencies.count, last - start, not_ok, lost, percentile(.5),
         percentile(.99), cpu_seconds());
  return 0;
}

// A load generator that is not the bottleneck: one request in flight on each of many connections.
//
//   load SOCKET CONNECTIONS SECONDS frames|http REQUEST
//
// REQUEST is a frame's JSON or an HTTP request with its blank line. Each run of eight `@` in it is
// replaced by a number that counts up, so that no two writes are the same. Prints one line: replies,
// seconds, replies that weren't a success, lost connections, and the latencies p50 and p99 in us.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 16, MAX_SAMPLES = 1 << 22 };

struct connection {
  int fd;
  size_t have;
  double sent;
  char buffer[BUFFER];
};

static char request[BUFFER];
static size_t request_size;
static unsigned counter;
static int is_http;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void make_request(const char *text) {
  size_t size = strlen(text), prefix = is_http ? 0 : 4;
  if (size + prefix > BUFFER) { fprintf(stderr, "the request is too long\n"); exit(2); }
  if (!is_http) {
    uint32_t length = htonl(size);
    memcpy(request, &length, 4);
  }
  memcpy(request + prefix, text, size);
  request_size = size + prefix;
}

static int send_request(struct connection *c) {
  char digits[9];
  snprintf(digits, sizeof digits, "%08u", ++counter % 100000000);
  for (char *place = request; (place = memmem(place, request_size - (place - request), "@@@@@@@@", 8)); place += 8)
    memcpy(place, digits, 8);
  c->sent = now();
  int whole = send(c->fd, request, request_size, MSG_NOSIGNAL) == (ssize_t)request_size;
  for (char *place = request; counter && (place = memmem(place, request_size - (place - request), digits, 8)); place += 8)
    memcpy(place, "@@@@@@@@", 8);
  return whole;
}

// The size of the reply at the start of the buffer, or 0 while it isn't whole.
static size_t whole_reply(struct connection *c, int *is_ok) {
  if (!is_http) {
    uint32_t length;
    if (c->have < 4) return 0;
    memcpy(&length, c->buffer, 4);
    size_t size = ntohl(length) + 4;
    if (c->have < size) return 0;
    *is_ok = memmem(c->buffer, size, "\"ok\":true", 9) != NULL || memmem(c->buffer, size, "\"op\"", 4) != NULL;
    return size;
  }
  char *end = memmem(c->buffer, c->have, "\r\n\r\n", 4);
  if (!end) return 0;
  c->buffer[c->have] = 0;
  char *length = strcasestr(c->buffer, "content-length:");
  size_t size = end + 4 - c->buffer + (length && length < end ? strtoul(length + 15, NULL, 10) : 0);
  if (c->have < size) return 0;
  *is_ok = !strncmp(c->buffer, "HTTP/1.1 20", 11);
  return size;
}

int main(int argc, char **argv) {
  if (argc != 6) { fprintf(stderr, "usage: load SOCKET CONNECTIONS SECONDS frames|http REQUEST\n"); return 2; }
  int count = atoi(argv[2]), lost = 0;
  double limit = atof(argv[3]);
  is_http = !strcmp(argv[4], "http");
  make_request(argv[5]);
  struct connection *all = calloc(count, sizeof *all);
  double *samples = malloc(MAX_SAMPLES * sizeof *samples);
  size_t replies = 0, bad = 0, taken = 0;
  int epoll = epoll_create1(0);
  for (int i = 0; i < count; i++) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    all[i].fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(all[i].fd, (void *)&address, sizeof address)) { perror("connect"); return 1; }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
    epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event);
  }
  double start = now();
  for (int i = 0; i < count; i++) send_request(&all[i]);
  struct epoll_event ready[256];
  while (now() - start < limit && lost < count) {
    int events = epoll_wait(epoll, ready, 256, 100);
    for (int i = 0; i < events; i++) {
      struct connection *c = ready[i].data.ptr;
      ssize_t got = recv(c->fd, c->buffer + c->have, BUFFER - 1 - c->have, 0);
      if (got <= 0) { close(c->fd); lost++; continue; }
      c->have += got;
      int is_ok = 0;
      size_t size = whole_reply(c, &is_ok);
      if (!size) continue;
      replies++;
      bad += !is_ok;
      if (taken < MAX_SAMPLES) samples[taken++] = (now() - c->sent) * 1e6;
      memmove(c->buffer, c->buffer + size, c->have -= size);
      if (!send_request(c)) { close(c->fd); lost++; }
    }
  }
  double took = now() - start;
  qsort(samples, taken, sizeof *samples, ascending);
  printf("%zu %.3f %zu %d %.0f %.0f\n", replies, took, bad, lost, taken ? samples[taken / 2] : 0,
         taken ? samples[(size_t)(taken * .99)] : 0);
  return 0;
}

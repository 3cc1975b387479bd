/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Shows the programs of a real server the client that a TCP option (TOA) names.
 *
 *   lvsd_toa_read   sockops            the handshake ends: read the option, keep the client
 *   lvsd_toa_peer4  cgroup/getpeername4  accept() or getpeername() asks: answer with the client
 *   lvsd_toa_peer6  cgroup/getpeername6  the same on an AF_INET6 socket
 *
 * All three are attached to one cgroup and act on the sockets that were created in it or below.
 * The option: kind, length, port, address; 8 bytes for IPv4, 20 for IPv6, port and address in
 * network order. Everything here is kept in network order too.
 *
 * Needs Linux 5.10, whose sockops programs see the TCP header of the packet that ended the
 * handshake. No kernel structure is looked into, so no BTF of the kernel is needed.
 */
#include <linux/bpf.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTIONS_MAX 40 /* bytes, RFC 9293 section 3.1 */

#define TOA_IPV4 8 /* lengths, kind and length included */
#define TOA_IPV6 20

#define PREFIXES_MAX 1024

enum counter {
	READ,      /* connections whose client is known */
	ABSENT,    /* from a trusted address, but without the option */
	UNTRUSTED, /* with the option, but from an address that is not trusted */
	MALFORMED, /* from a trusted address, with an option that says nothing sensible */
	UNFIT,     /* an IPv6 client on an AF_INET socket, which has no way to name it */
	COUNTERS,
};

struct settings {
	__u64 build; /* which build of this object the cgroup runs */
	__u8 kind_ipv4;
	__u8 kind_ipv6;
	__u8 unused[6];
};

/* An IPv4 address stands as ::ffff:a.b.c.d, so that one trie holds both versions. */
struct prefix {
	__u32 length; /* bits */
	__be32 address[4];
};

struct client {
	__be32 address[4]; /* IPv4 as ::ffff:a.b.c.d */
	__be16 port;
	__u16 is_ipv6;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} lvsd_toa_conf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PREFIXES_MAX);
	__type(key, struct prefix);
	__type(value, __u8);
} lvsd_toa_from SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} lvsd_toa_count SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct client);
} lvsd_toa_client SEC(".maps");

static __always_inline void count(enum counter which)
{
	__u32 key = which;
	__u64 *value = bpf_map_lookup_elem(&lvsd_toa_count, &key);

	if (value)
		*value += 1;
}

static __always_inline __be32 word(const __u8 *bytes)
{
	__be32 value;

	__builtin_memcpy(&value, bytes, sizeof(value)); /* options are not aligned */
	return value;
}

/*
 * Return kind << 8 | length of the option at `offset` from the start of the TCP header; a NOP has
 * length 1. Return 0 at the end of the list, and where the list is broken.
 *
 * A global function is verified once, by itself, and what it returns is any number to its caller.
 * Inlined, each way through one option would be verified in combination with all ways through the
 * next: over a million instructions.
 */
__noinline __u32 option_at(struct bpf_sock_ops *ctx, __u32 offset)
{
	const __u8 *header = ctx->skb_data, *end = ctx->skb_data_end, *option;

	if (offset >= sizeof(struct tcphdr) + OPTIONS_MAX)
		return 0;
	option = header + offset;
	if (option + 1 > end || option[0] == OPTION_END)
		return 0;
	if (option[0] == OPTION_NOP)
		return OPTION_NOP << 8 | 1;
	if (option + 2 > end || option[1] < 2)
		return 0;
	return option[0] << 8 | option[1];
}

/*
 * Return the offset of our option from the start of the TCP header, or 0 without one.
 *
 * The first one counts: the director puts its own before whatever the client sent. A list that
 * is broken ends where it breaks, as for the kernel's own tcp_parse_options.
 */
static __always_inline __u32 find(struct bpf_sock_ops *ctx, const struct settings *conf)
{
	__u32 offset = sizeof(struct tcphdr);

	for (int i = 0; i < OPTIONS_MAX; i++) {
		__u32 option = option_at(ctx, offset), kind = option >> 8;

		if (!option)
			return 0;
		if (kind == conf->kind_ipv4 || kind == conf->kind_ipv6)
			return offset;
		offset += option & 0xff;
		if (offset >= sizeof(struct tcphdr) + OPTIONS_MAX)
			return 0;
	}
	return 0;
}

/* Read the option at `offset` into `client`. Return 0 when it is of no known form or names nobody. */
static __always_inline int read(struct bpf_sock_ops *ctx, __u32 offset,
				const struct settings *conf, struct client *client)
{
	const __u8 *header = ctx->skb_data, *end = ctx->skb_data_end, *option = header + offset;

	if (option + TOA_IPV4 > end)
		return 0;
	__builtin_memcpy(&client->port, option + 2, sizeof(client->port));
	if (option[0] == conf->kind_ipv4 && option[1] == TOA_IPV4) {
		client->address[2] = bpf_htonl(0xffff);
		client->address[3] = word(option + 4);
		return client->port && client->address[3];
	}
	if (option[0] != conf->kind_ipv6 || option[1] != TOA_IPV6 || option + TOA_IPV6 > end)
		return 0;
	client->is_ipv6 = 1;
	for (int i = 0; i < 4; i++)
		client->address[i] = word(option + 4 + 4 * i);
	return client->port && (client->address[0] | client->address[1] | client->address[2] |
				client->address[3]);
}

static __always_inline int trusted(struct bpf_sock_ops *ctx)
{
	struct prefix peer = { .length = 128 };

	if (ctx->family == AF_INET) {
		__be32 address = ctx->remote_ip4;

		/* Or the compiler merges this load with one below, through a pointer that it works
		 * out at run time, and the verifier refuses such pointers into the context. */
		barrier_var(address);
		peer.address[2] = bpf_htonl(0xffff);
		peer.address[3] = address;
	} else {
		peer.address[0] = ctx->remote_ip6[0];
		peer.address[1] = ctx->remote_ip6[1];
		peer.address[2] = ctx->remote_ip6[2];
		peer.address[3] = ctx->remote_ip6[3];
	}
	return bpf_map_lookup_elem(&lvsd_toa_from, &peer) != 0;
}

SEC("sockops")
int lvsd_toa_read(struct bpf_sock_ops *ctx)
{
	struct settings *conf;
	struct client client = {}, *kept;
	struct bpf_sock *sk;
	__u32 zero = 0, offset;
	int believed;

	if (ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	conf = bpf_map_lookup_elem(&lvsd_toa_conf, &zero);
	sk = ctx->sk;
	if (!conf || !sk)
		return 1;

	believed = trusted(ctx);
	offset = find(ctx, conf);
	if (!offset) {
		if (believed)
			count(ABSENT);
		return 1;
	}
	if (!believed) {
		count(UNTRUSTED);
		return 1;
	}
	if (!read(ctx, offset, conf, &client)) {
		count(MALFORMED);
		return 1;
	}
	if (client.is_ipv6 && ctx->family == AF_INET) {
		count(UNFIT);
		return 1;
	}
	kept = bpf_sk_storage_get(&lvsd_toa_client, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (kept) {
		*kept = client;
		count(READ);
	}
	return 1;
}

SEC("cgroup/getpeername4")
int lvsd_toa_peer4(struct bpf_sock_addr *ctx)
{
	struct client *client = bpf_sk_storage_get(&lvsd_toa_client, ctx->sk, 0, 0);

	if (client) {
		ctx->user_ip4 = client->address[3];
		ctx->user_port = client->port;
	}
	return 1;
}

SEC("cgroup/getpeername6")
int lvsd_toa_peer6(struct bpf_sock_addr *ctx)
{
	struct client *client = bpf_sk_storage_get(&lvsd_toa_client, ctx->sk, 0, 0);

	if (client) {
		ctx->user_ip6[0] = client->address[0];
		ctx->user_ip6[1] = client->address[1];
		ctx->user_ip6[2] = client->address[2];
		ctx->user_ip6[3] = client->address[3];
		ctx->user_port = client->port;
	}
	return 1;
}

char _license[] SEC("license") = "GPL"; /* the one of the two licences that the kernel knows */

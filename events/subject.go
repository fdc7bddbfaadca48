package events

import "strings"

// Subjects. The trailing token of each family is the identity of the sender
// or of the thing that the message is about.
const (
	HeartbeatAgents     = "ringway.hb.agent.*"
	HeartbeatRouters    = "ringway.hb.router.*"
	HeartbeatShards     = "ringway.hb.shard.*"
	HeartbeatController = "ringway.hb.controller"
	AllEvents           = "ringway.evt.>"

	apiPrefix   = "ringway.api."
	eventPrefix = "ringway.evt."
	logPrefix   = "ringway.log."
	resPrefix   = "ringway.res."
)

// MicroService is the name under which the leader answers requests (NATS micro).
const MicroService = "ringway"

// StreamEvents keeps what happened for EventsKept.
const StreamEvents = "RINGWAY_EVENTS"

// Buckets of the control plane.
const (
	BucketDesired     = "RINGWAY_DESIRED"      // service.<name>, table.<name>: what people asked for
	BucketDesiredCopy = "RINGWAY_DESIRED_COPY" // the same once more: a damaged record is restored from it
	BucketAssign      = "RINGWAY_ASSIGN"       // <host>: what each host shall run
	BucketRoutes      = "RINGWAY_ROUTES"       // service.<name>, table.<name>: what routers and shard servers apply
	BucketLease       = "RINGWAY_LEASE"        // controller: who leads
	BucketHosts       = "RINGWAY_HOSTS"        // <host>: which agent has the name
)

// LeaseKey is the key of BucketLease that the leader holds.
const LeaseKey = "controller"

// ServiceKey is the key of a service in BucketDesired and BucketRoutes.
func ServiceKey(service string) string { return "service." + service }

// TableKey is the key of a table in BucketDesired and BucketRoutes.
func TableKey(table string) string { return "table." + table }

// ShardSubject is where a shard server sends its heartbeats.
func ShardSubject(server string) string { return "ringway.hb.shard." + token(server) }

// DigestSubject is where the replicas of a shard publish their digests.
func DigestSubject(table, shard string) string { return "ringway.dig." + table + "." + shard }

// AgentSubject is where the agent of host sends its heartbeats.
func AgentSubject(host string) string { return "ringway.hb.agent." + token(host) }

// RouterSubject is where a router sends its heartbeats.
func RouterSubject(id string) string { return "ringway.hb.router." + token(id) }

// APISubject is where the leader answers requests of one verb.
func APISubject(verb string) string { return apiPrefix + verb }

// LogSubject is where the batches of a shard are published. Table and shard are
// identifiers, so that no two logs share a subject.
func LogSubject(table, shard string) string { return logPrefix + table + "." + shard }

// LogStream is the stream that keeps them.
func LogStream(table, shard string) string { return "RINGWAY_LOG_" + table + "-" + shard }

// ResultSubject is where the results of a writer's batches on a shard are
// published, and AllResults what the writer listens to.
func ResultSubject(writer, table, shard string) string {
	return resPrefix + token(writer) + "." + table + "." + shard
}

// AllResults is every subject on which a writer receives results.
func AllResults(writer string) string { return resPrefix + token(writer) + ".>" }

// EventSubject is where an event about one entity is published.
func EventSubject(entity, verb, id string) string {
	return eventPrefix + entity + "." + verb + "." + token(id)
}

// token makes an identity fit for one token of a subject. Names may hold dots;
// subjects are only filters, the body carries the true name.
func token(id string) string {
	if id == "" {
		return "_" // an empty token is no subject
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '.', r == '*', r == '>', r <= ' ', r == 0x7f:
			return '_'
		}
		return r
	}, id)
}

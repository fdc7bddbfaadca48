// Package mysqld runs a private MySQL or MariaDB server.
//
// It has a data directory of its own, listens on a Unix socket that only its
// user can reach and on no port, is restarted when it crashes, and never
// outlives the process that supervises it. What it writes is crash-safe, not
// synced at each commit (the log of a shard has what a power cut takes).
package mysqld

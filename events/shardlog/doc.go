// Package shardlog is what a shard's log holds and what becomes of it: batches
// of ops, and their results. Writers, the bus's readers and appliers share it.
package shardlog

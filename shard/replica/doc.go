// Package replica manages one replica of a shard on one shard server.
//
// A Manager compares what the route wants with what the engine has and what the
// log holds, decides the next step (plan.go), and takes it: it creates the
// replica, copies it from a ready one, quarantines and rebuilds it, or runs its
// applier. It keeps no record of steps: after a failure or a restart the same
// comparison leads to the same step. It never erases the last good copy.
//
// The files in reading order: target.go and plan.go are pure; history.go,
// peers.go, status.go, running.go and copy.go know nothing of a Manager; copier.go
// and digest.go are its parts; manager.go is on top.
package replica

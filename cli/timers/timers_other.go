//go:build !linux

package timers

// Coarsen does nothing where timers have no slack that can be told.
func Coarsen() {}

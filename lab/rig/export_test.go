package rig

var (
	Discount = discount
	Stalled  = stalled
	Pause    = pause
)

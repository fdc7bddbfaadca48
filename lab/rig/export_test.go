package rig

var (
	Discount = discount
	Stalled  = stalled
)

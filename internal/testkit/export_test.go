package testkit

var (
	Discount = discount
	Stalled  = stalled
	Pause    = pause
)

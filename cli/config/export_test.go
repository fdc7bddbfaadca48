package config

import "ringway/events"

// What tests outside of the package look at.
var (
	OverlayOf     = overlay
	ServiceFields = serviceKeys(&events.ServiceSpec{})
)

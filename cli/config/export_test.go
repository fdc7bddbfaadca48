package config

// What tests outside of the package look at.
var (
	OverlayOf     = overlay
	ServiceFields = serviceFields
)

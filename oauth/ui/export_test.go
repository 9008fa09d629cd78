package ui

// Variables returns the custom properties that all colors being c makes, "" if
// it is none.
func Variables(c string) string {
	b := Branding{Colors: Colors{Primary: c, Error: c, Warning: c, Info: c, Success: c}}
	css, err := b.variables(func(string) string { return "" })
	if err != nil {
		return ""
	}
	return css
}

package dpop

// ReadClaims checks claims that nobody signed and returns their "jti".
func (c *Checker) ReadClaims(text []byte, method, htu, ath string) (string, error) {
	p, err := c.readClaims(text, method, htu, ath)
	if err != nil {
		return "", err
	}
	return p.JTI, nil
}

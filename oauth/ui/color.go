package ui

import (
	"fmt"
	"math"
	"strconv"
)

// color is an opaque sRGB color.
type color struct{ r, g, b uint8 }

var (
	black = color{}
	white = color{255, 255, 255}
)

// parseColor reads "#rgb" and "#rrggbb".
func parseColor(s string) (color, error) {
	hex := ""
	switch {
	case len(s) == 7 && s[0] == '#':
		hex = s[1:]
	case len(s) == 4 && s[0] == '#':
		hex = string([]byte{s[1], s[1], s[2], s[2], s[3], s[3]})
	}
	n, err := strconv.ParseUint(hex, 16, 24)
	if err != nil {
		return color{}, fmt.Errorf("%q is no color like #2f5bd7", s)
	}
	return color{uint8(n >> 16), uint8(n >> 8), uint8(n)}, nil
}

func (c color) String() string {
	return fmt.Sprintf("#%02x%02x%02x", c.r, c.g, c.b)
}

// luminance is the relative luminance of WCAG 2.2, from 0 to 1.
func (c color) luminance() float64 {
	linear := func(v uint8) float64 {
		s := float64(v) / 255
		if s <= 0.04045 {
			return s / 12.92
		}
		return math.Pow((s+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c.r) + 0.7152*linear(c.g) + 0.0722*linear(c.b)
}

// contrast is the contrast ratio of WCAG 2.2, from 1 to 21.
func contrast(a, b color) float64 {
	l, d := a.luminance(), b.luminance()
	if l < d {
		l, d = d, l
	}
	return (l + 0.05) / (d + 0.05)
}

// mix returns c with a share (0 to 1) of other.
func (c color) mix(other color, share float64) color {
	part := func(a, b uint8) uint8 {
		return uint8(math.Round(float64(a) + (float64(b)-float64(a))*share))
	}
	return color{part(c.r, other.r), part(c.g, other.g), part(c.b, other.b)}
}

// on returns the color of text on c: black or white, whichever is easier to
// read. One of the two has a ratio of at least 4.58, the root of 21.
func (c color) on() color {
	if contrast(c, white) >= contrast(c, black) {
		return white
	}
	return black
}

// readable returns c, as far towards end as it takes to reach the ratio on all
// of the grounds.
func (c color) readable(end color, ratio float64, grounds ...color) color {
	const steps = 50
	for i := range steps {
		out := c.mix(end, float64(i)/steps)
		enough := true
		for _, g := range grounds {
			enough = enough && contrast(out, g) >= ratio
		}
		if enough {
			return out
		}
	}
	return end
}

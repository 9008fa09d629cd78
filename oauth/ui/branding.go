package ui

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Branding is what makes the pages look like the service that they belong to.
// All of it may be left zero.
type Branding struct {
	Name string // of the service; "" = the host of the request

	// Logo stands beside the name, or in its place if LogoOnly is set; its
	// height is 36 CSS pixels. LogoDark replaces it on dark ground. Icon is
	// the favicon.
	Logo     *Image
	LogoDark *Image
	LogoOnly bool
	Icon     *Image

	// Background fills the window behind the sign-in pages, BackgroundDark
	// the dark one; nil = a plain one in the style of the primary color.
	Background     *Image
	BackgroundDark *Image

	Colors Colors
	Links  []FooterLink
}

// Colors are written "#rrggbb" or "#rgb"; "" = the default. The colors of text
// and of the dark theme are made from them, so that the contrast is that of WCAG
// 2.2 AA whatever they are.
type Colors struct {
	Primary string // buttons, links; default #2f5bd7
	Error   string // default #c2303f
	Warning string // default #b45f06
	Info    string // default #2563a8
	Success string // default #1d7a4c
}

// Image is a picture that the assets serve.
type Image struct {
	Type string // image/svg+xml, image/png, image/jpeg, image/webp, image/avif, image/gif
	Data []byte
}

// imageTypes are the types of [Image] with the endings of their names.
var imageTypes = map[string]string{
	"image/svg+xml": ".svg",
	"image/png":     ".png",
	"image/jpeg":    ".jpg",
	"image/webp":    ".webp",
	"image/avif":    ".avif",
	"image/gif":     ".gif",
}

// FooterLink is a link at the foot of every page.
type FooterLink struct {
	Rel    string            // "terms-of-service", "privacy-policy", "help", "canonical" (the home page), ...
	URL    string            // http, https or mailto, or a path
	Title  string            // "" = the catalogue's "link.<Rel>"
	Titles map[string]string // by locale, before Title
}

func (b *Branding) check() error {
	for name, img := range b.images() {
		if imageTypes[img.Type] == "" || len(img.Data) == 0 {
			return fmt.Errorf("image Branding.%s: no data, or a type %q that is none of an image", name, img.Type)
		}
	}
	if b.LogoOnly && b.Logo == nil {
		return errors.New("Branding.LogoOnly: there is no Logo")
	}
	for _, l := range b.Links {
		u, err := url.Parse(l.URL)
		if err != nil || l.URL == "" {
			return fmt.Errorf("Branding.Links: %q is no URL", l.URL)
		}
		switch u.Scheme {
		case "http", "https", "mailto", "":
		default:
			return fmt.Errorf("Branding.Links: %q is neither http, https nor mailto", l.URL)
		}
	}
	return nil
}

// images returns those that are set, by the name of their field.
func (b *Branding) images() map[string]*Image {
	all := map[string]*Image{
		"Logo": b.Logo, "LogoDark": b.LogoDark, "Icon": b.Icon,
		"Background": b.Background, "BackgroundDark": b.BackgroundDark,
	}
	for name, img := range all {
		if img == nil {
			delete(all, name)
		}
	}
	return all
}

// scheme is a light or dark set of neutral colors.
type scheme struct {
	bg, surface, raised, text, muted, border, control color
	end                                               color // towards which a color becomes readable
}

// The neutral colors of the two schemes. Text and muted have a ratio of 4.5 or
// more on all grounds, control (the edge of inputs) of 3.
var (
	lightScheme = scheme{
		bg: color{0xf3, 0xf5, 0xf9}, surface: white, raised: color{0xf7, 0xf9, 0xfc},
		text: color{0x17, 0x20, 0x2c}, muted: color{0x53, 0x5f, 0x70},
		border: color{0xdd, 0xe3, 0xeb}, control: color{0x7f, 0x8a, 0x99}, end: black,
	}
	darkScheme = scheme{
		bg: color{0x0e, 0x13, 0x1a}, surface: color{0x18, 0x1f, 0x29}, raised: color{0x1f, 0x28, 0x34},
		text: color{0xe9, 0xee, 0xf5}, muted: color{0xa5, 0xb1, 0xc1},
		border: color{0x2f, 0x3a, 0x49}, control: color{0x78, 0x86, 0x98}, end: white,
	}
)

// Contrast ratios of WCAG 2.2: 1.4.3 for text, 1.4.11 for controls.
const (
	ratioText    = 4.5
	ratioControl = 3.0
)

// defaultPrimary is also the color of the built-in icon's ground.
const defaultPrimary = "#2f5bd7"

// softShare is how much of a color its soft ground has.
const softShare = 0.09

// variables writes the branding as a style sheet of custom properties. assetURL
// gives the address of an image by the name of its field.
func (b *Branding) variables(assetURL func(string) string) (string, error) {
	type named struct {
		name, value, def string
	}
	c := b.Colors
	var light, dark strings.Builder
	for _, s := range []struct {
		scheme
		out *strings.Builder
	}{{lightScheme, &light}, {darkScheme, &dark}} {
		set := func(name string, value color) { fmt.Fprintf(s.out, "--%s:%s;", name, value) }
		set("bg", s.bg)
		set("surface", s.surface)
		set("raised", s.raised)
		set("text", s.text)
		set("muted", s.muted)
		set("border", s.border)
		set("control", s.control)
		for _, n := range []named{
			{"primary", c.Primary, defaultPrimary},
			{"error", c.Error, "#c2303f"},
			{"warning", c.Warning, "#b45f06"},
			{"info", c.Info, "#2563a8"},
			{"success", c.Success, "#1d7a4c"},
		} {
			fill, err := parseColor(cmp.Or(n.value, n.def))
			if err != nil {
				return "", fmt.Errorf("Branding.Colors: %s: %w", n.name, err)
			}
			soft := s.surface.mix(fill, softShare)
			on := fill.on()
			away := black // hovering moves the ground away from the text on it
			if on == black {
				away = white
			}
			set(n.name, fill)
			set("on-"+n.name, on)
			set(n.name+"-hover", fill.mix(away, 0.14))
			set(n.name+"-soft", soft)
			set(n.name+"-edge", fill.readable(s.end, ratioControl, s.surface, s.bg))
			set(n.name+"-text", fill.readable(s.end, ratioText, s.surface, s.bg, s.raised, soft))
		}
	}
	for name, out := range map[string]*strings.Builder{"Background": &light, "BackgroundDark": &dark} {
		if address := assetURL(name); address != "" {
			// What stands on the image needs a ground of its own.
			fmt.Fprintf(out, "--background:url(%q);--ground:var(--surface);", address)
		}
	}
	return ":root{" + light.String() + "}\n@media (prefers-color-scheme:dark){:root{" + dark.String() + "}}\n", nil
}

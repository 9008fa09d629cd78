package pds

import (
	"html"
	"strings"
)

// plainText returns what HTML says to those who do not see it: the text without
// tags, comments, styles and scripts, with a line for each paragraph. It is
// meant for reading alone; what comes out may look like HTML again.
func plainText(source string) string {
	var out strings.Builder
	for source != "" {
		text, rest, found := strings.Cut(source, "<")
		out.WriteString(html.UnescapeString(text))
		if !found {
			break
		}
		var tag string
		if strings.HasPrefix(rest, "!--") {
			_, source, _ = strings.Cut(rest, "-->")
			continue
		}
		tag, source, found = strings.Cut(rest, ">")
		if !found { // a lone "<"
			out.WriteString("<" + html.UnescapeString(tag))
			break
		}
		name, _, _ := strings.Cut(strings.TrimLeft(strings.ReplaceAll(tag, "\n", " "), "/"), " ")
		name = strings.TrimSuffix(name, "/")
		switch strings.ToLower(name) {
		case "style", "script", "title":
			if !strings.HasPrefix(tag, "/") {
				_, source, _ = strings.Cut(source, "</"+name+">")
			}
		case "p", "br", "div", "li", "tr", "h1", "h2", "h3", "h4", "ul", "ol", "table", "blockquote":
			out.WriteString("\n")
		}
	}
	var lines []string
	for line := range strings.SplitSeq(out.String(), "\n") {
		line = strings.Join(strings.Fields(line), " ")
		if line != "" || len(lines) > 0 && lines[len(lines)-1] != "" {
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines, "\n")) + "\n"
}

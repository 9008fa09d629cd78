package ui

import "strings"

// browser says in words which browser on which system a User-Agent stands for.
func (l *language) browser(agent string) string {
	browser, system := agentNames(agent)
	switch {
	case browser != "" && system != "":
		return format(l.texts["device.both"], Args{"browser": browser, "system": system})
	case browser+system != "":
		return browser + system
	case agent != "":
		return Clean(agent, MaxName)
	}
	return l.texts["device.unknown"]
}

// agentNames recognizes the common browsers and systems; "" = neither. The
// order counts: most browsers name others too.
func agentNames(agent string) (browser, system string) {
	for _, b := range [][2]string{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Vivaldi/", "Vivaldi"},
		{"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"CriOS/", "Chrome"}, {"Chrome/", "Chrome"},
		{"Safari/", "Safari"},
	} {
		if strings.Contains(agent, b[0]) {
			browser = b[1]
			break
		}
	}
	for _, s := range [][2]string{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"},
		{"CrOS", "ChromeOS"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"},
	} {
		if strings.Contains(agent, s[0]) {
			system = s[1]
			break
		}
	}
	return browser, system
}

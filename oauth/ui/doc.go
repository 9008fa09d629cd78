// Package ui renders the pages of the OAuth server and of the account manager.
// Programs import it to give the pages their name, colors, words or templates,
// or to replace them as a whole:
//
//	pages, err := ui.New(ui.Options{
//		Branding: ui.Branding{Name: "Wonderland", Colors: ui.Colors{Primary: "#7a3cc2"}},
//		Overlay:  os.DirFS("templates"), // welcome.html, custom.css, ...
//		Catalogs: map[string]map[string]string{"en": {"welcome.title": "Down the rabbit hole"}},
//	})
//
// A page is a struct with everything that it shows ([SignInPage], [ConsentPage],
// ...), and a form is an address with hidden fields and the fields named here
// ([FieldPassword], ...). Whoever fills a page sets codes and values, never
// words: those come from the catalogues. A program that wants none of our HTML
// implements [UI] and switches on the type of the page.
//
// The pages have neither inline scripts nor inline styles, so that they work
// with the policy "default-src 'none'; script-src 'self'; style-src 'self';
// img-src 'self' data:; connect-src 'self'; form-action 'self'"; the origins of
// the logos of trusted apps are added to img-src. Setting it is the caller's
// part, as all headers but Content-Type and Content-Language are. Without
// scripts everything works.
//
// Texts of apps and lexicons are escaped, cut, and freed of characters that
// hide or reorder others ([Clean]); of an app that is not trusted only the
// host and the client_id are shown.
//
// # Templates
//
// A page's template defines "title" and "content"; its data is the page. The
// templates of partials.html and these functions are at its service:
//
//	t "key" "name" value ...        a text with values, or with an [Args]
//	strong "key" "name" value ...   the same with the values set off
//	coded "prefix" code ".suffix" "else" values ...
//	                                the text prefix.code.suffix, or else the words given
//	lang, locales                   the page's language; all languages ([]Locale)
//	brand, footer                   the Branding; its links with their titles
//	asset "style.css"               the address of an asset, or of an image by the
//	                                name of its field: asset "Logo"
//	field . "name" "Option" value   the data of the template "field": an input
//	custom . field                  the same for a [Field]
//	options list                    makes the []Option of a list of words
//	reauth . "id"                   the data of the template "reauth"
//	problem . "field", problems .   what is wrong with a field; all that is wrong
//	managed .                       the [Manager] of a page, nil if it has none
//	app client                      the name of a trusted app, the host of another
//	account a, initial a            the handle or the DID; the letter of the avatar
//	browser agent                   a User-Agent in words
//	name, heading, detail, id, raw  Clean with MaxName, MaxTitle, MaxDetail, MaxID, MaxRaw
//	breaks name                     lets a name break after its dots
//	date time, iso time, size n     for reading; for machines; bytes
//	link url                        an address of any scheme but those that browsers run
//	png bytes                       a data: address
//	lines list                      joined by line feeds
//	replace s "old" "new"           strings.ReplaceAll
//	dict "key" value ..., args "name" value ...
package ui

// Package ui renders the pages of the OAuth server and of the account manager.
package ui

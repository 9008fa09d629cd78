// One process for all, since they share the servers and the browser.

import './node-clients.mjs'
import './browser-clients.mjs'
import './indigo.mjs'
import './admin.mjs'
import './pages.mjs'

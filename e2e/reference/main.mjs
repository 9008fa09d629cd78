// The reference server in a process of its own, configured by its environment.
import { PDS } from '@atproto/pds'

await PDS.run()

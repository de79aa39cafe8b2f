// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Runs a server of the AT Protocol (a PDS) on loopback, with a directory of identities (PLC) of its own, for tests. It
// prints one line of JSON when both answer, and ends when its standard input does: a test that dies takes it along.
//
// $PDS_PLC_URL names the directory of another one, which then has to be running; $PDS_PORT and $PDS_DATA are for one
// that is to be found again after it was killed.
import { mkdirSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'

// By their files, beside which this one was copied: the newest release exports none of them by name.
const { TestPlc } = await import('./node_modules/@atproto/dev-env/dist/plc.js')
const { TestPds } = await import('./node_modules/@atproto/dev-env/dist/pds.js')
const { mockNetworkUtilities } = await import('./node_modules/@atproto/dev-env/dist/util.js')
const { ADMIN_PASSWORD, JWT_SECRET } = await import('./node_modules/@atproto/dev-env/dist/const.js')

const freePort = () =>
  new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })

process.stdin.resume().once('end', () => process.exit(0))

let didPlcUrl = process.env.PDS_PLC_URL
if (!didPlcUrl) didPlcUrl = (await TestPlc.create({ port: await freePort() })).url
const port = Number(process.env.PDS_PORT) || (await freePort())
const data = process.env.PDS_DATA
if (data) mkdirSync(path.join(data, 'pds'), { recursive: true })
const pds = await TestPds.create({
  didPlcUrl,
  port,
  hostname: 'localhost',
  ...(data && {
    dataDirectory: path.join(data, 'pds'),
    blobstoreDiskLocation: path.join(data, 'blobs'),
  }),
})
// Handles below .test are in nobody's DNS: this has the PDS look for them at itself.
mockNetworkUtilities(pds)
console.log(
  JSON.stringify({
    url: pds.url,
    plcUrl: didPlcUrl,
    adminPassword: ADMIN_PASSWORD,
    jwtSecret: JWT_SECRET,
  }),
)

// Verifies a bundle with @sigstore/verify: BUNDLE PUBLIC-KEY [TRUSTED-ROOT]. With a trusted root, the bundle must
// carry an entry of a log in it. Run with NODE_PATH at the packages.
const fs = require('node:fs');
const crypto = require('node:crypto');
const { bundleFromJSON } = require('@sigstore/bundle');
const { TrustedRoot } = require('@sigstore/protobuf-specs');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');

const [bundlePath, keyPath, rootPath] = process.argv.slice(2);
const bundle = bundleFromJSON(JSON.parse(fs.readFileSync(bundlePath, 'utf8')));
const root = rootPath
  ? TrustedRoot.fromJSON(JSON.parse(fs.readFileSync(rootPath, 'utf8')))
  : { mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1', tlogs: [], certificateAuthorities: [], ctlogs: [], timestampAuthorities: [] };
const key = { publicKey: crypto.createPublicKey(fs.readFileSync(keyPath)), validFor: () => true };
const verifier = new Verifier(toTrustMaterial(root, () => key), {
  ctlogThreshold: 0,
  tlogThreshold: rootPath ? 1 : 0,
  timestampThreshold: 0,
});
try {
  verifier.verify(toSignedEntity(bundle));
  console.log('verified');
} catch (error) {
  console.error(`refused: ${error.code}: ${error.message}`);
  process.exit(1);
}

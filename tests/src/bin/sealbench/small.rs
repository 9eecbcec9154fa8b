//! Small artifacts, and the pieces that the other scenarios make them of: a blob, a manifest, a tag.

use crate::arguments::Arguments;
use crate::connection::{Connection, with_query};
use crate::payload::{self, Payload};
use crate::timing;
use anyhow::Context;
use serde_json::{Value, json};
use std::time::Instant;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const SMALL: usize = 4096;

/// Pushes `--count` artifacts, shared among `--streams` clients: each a new 4 KiB blob, its manifest and a tag.
pub(crate) fn push(arguments: &Arguments) -> anyhow::Result<Value> {
    let mut connection = Connection::new(arguments);
    let config = blob(&mut connection, arguments, b"{}")?;
    let (micros, measured) = timing::together(arguments, |stream| {
        let mut connection = Connection::new(arguments);
        let mut micros = Vec::new();
        for number in (stream..arguments.count).step_by(arguments.streams) {
            let content = content(arguments, number);
            let start = Instant::now();
            let layer = blob(&mut connection, arguments, &content)?;
            let manifest = manifest(&config, &layer, None, number);
            tag(
                &mut connection,
                arguments,
                &format!("artifact-{}-{number}", arguments.seed),
                manifest.as_bytes(),
            )?;
            micros.push(timing::micros_since(start));
        }
        Ok(micros)
    })?;
    Ok(measured.operations(arguments, micros.concat()))
}

/// The unique 4 KiB of artifact `number`.
pub(crate) fn content(arguments: &Arguments, number: usize) -> Vec<u8> {
    let mut content = vec![0; SMALL];
    Payload::new(arguments.seed, (1 << 32) + number as u64).fill(&mut content);
    content
}

/// Pushes a blob with POST and PUT; answers its digest.
pub(crate) fn blob(
    connection: &mut Connection,
    arguments: &Arguments,
    content: &[u8],
) -> anyhow::Result<String> {
    let digest = payload::digest_of(content);
    let begun = connection.expect(
        "POST",
        &format!("/v2/{}/blobs/uploads/", arguments.repository),
        "",
        &[],
        &[202],
    )?;
    let location = begun.location.context("an upload without Location")?;
    let path = with_query(&location, &format!("digest={digest}"));
    connection.expect(
        "PUT",
        &path,
        "Content-Type: application/octet-stream\r\n",
        content,
        &[201],
    )?;
    Ok(digest)
}

/// A manifest of one 4 KiB layer; `number` makes manifests of the same layer differ.
pub(crate) fn manifest(
    config: &str,
    layer: &str,
    subject: Option<(&str, usize)>,
    number: usize,
) -> String {
    let mut value = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.sealbench.artifact",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "application/octet-stream", "digest": layer, "size": SMALL }],
        "annotations": { "sealbench.number": number.to_string() },
    });
    if let Some((digest, size)) = subject {
        value["subject"] = json!({ "mediaType": MANIFEST, "digest": digest, "size": size });
    }
    value.to_string()
}

/// Puts a manifest under a tag or a digest.
pub(crate) fn tag(
    connection: &mut Connection,
    arguments: &Arguments,
    reference: &str,
    manifest: &[u8],
) -> anyhow::Result<()> {
    let path = format!("/v2/{}/manifests/{reference}", arguments.repository);
    connection.expect(
        "PUT",
        &path,
        &format!("Content-Type: {MANIFEST}\r\n"),
        manifest,
        &[201],
    )?;
    Ok(())
}

/// Makes the one artifact that reading scenarios read; answers digest and bytes of its manifest and its blob's digest.
pub(crate) fn one(
    connection: &mut Connection,
    arguments: &Arguments,
    reference: Option<&str>,
) -> anyhow::Result<(String, String, String)> {
    let config = blob(connection, arguments, b"{}")?;
    let layer = blob(connection, arguments, &content(arguments, 0))?;
    let manifest = manifest(&config, &layer, None, 0);
    let digest = payload::digest_of(manifest.as_bytes());
    tag(
        connection,
        arguments,
        reference.unwrap_or(&digest),
        manifest.as_bytes(),
    )?;
    Ok((digest, manifest, layer))
}

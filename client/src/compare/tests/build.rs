//! Small files of each format, made by hand.

use std::io::Write as _;

pub(super) type Tensor<'a> = (&'a str, &'a str, &'a [u64], &'a [u8]);

pub(super) fn f32s(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

pub(super) fn f64s(values: &[f64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

pub(super) fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        let entry = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        header.insert((*name).to_owned(), entry);
        data.extend_from_slice(bytes);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    file
}

pub(super) fn npy(descr: &str, fortran: bool, shape: &[u64], data: &[u8]) -> Vec<u8> {
    let shape: String = shape.iter().map(|length| format!("{length}, ")).collect();
    let fortran = if fortran { "True" } else { "False" };
    let header =
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': ({shape}), }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

pub(super) fn zip(members: &[(&str, &[u8])], deflate: bool, year: u16) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let method = match deflate {
        true => zip::CompressionMethod::Deflated,
        false => zip::CompressionMethod::Stored,
    };
    let time = zip::DateTime::from_date_and_time(year, 1, 1, 0, 0, 0).unwrap();
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(method)
        .last_modified_time(time);
    for (name, content) in members {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub(super) fn tar(members: &[(&str, &[u8], u64)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content, time) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(*time);
        header.set_uid(*time);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(super) fn gzip(content: &[u8], time: u32) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new()
        .mtime(time)
        .write(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A state dict with one tensor `w`, as `torch.save` writes it.
pub(super) fn torch_file(
    storage: &[u8],
    class: &str,
    count: u8,
    shape: &[u8; 2],
    strides: &[u8; 2],
) -> Vec<u8> {
    torch_file_by(
        "_rebuild_tensor_v2",
        storage,
        class,
        count,
        [shape, strides],
        b"",
    )
}

/// The same by another function, with opcodes of `more` arguments to it.
pub(super) fn torch_file_by(
    function: &str,
    storage: &[u8],
    class: &str,
    count: u8,
    [shape, strides]: [&[u8; 2]; 2],
    more: &[u8],
) -> Vec<u8> {
    let text = |text: &str| {
        let mut bytes = b"X".to_vec();
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes
    };
    let mut pickle = b"\x80\x02ccollections\nOrderedDict\n)R".to_vec();
    pickle.extend(text("w"));
    pickle.extend(format!("ctorch._utils\n{function}\n((").as_bytes());
    pickle.extend(text("storage"));
    pickle.extend(format!("ctorch\n{class}\n").as_bytes());
    pickle.extend(text("0"));
    pickle.extend(text("cpu"));
    pickle.extend([b'K', count, b't', b'Q', b'K', 0]);
    pickle.extend([
        b'K', shape[0], b'K', shape[1], 0x86, b'K', strides[0], b'K', strides[1], 0x86, 0x89,
    ]);
    pickle.extend(b"ccollections\nOrderedDict\n)R");
    pickle.extend(more);
    pickle.extend(b"tRs.");
    let members: [(&str, &[u8]); 4] = [
        ("m/data.pkl", &pickle),
        ("m/byteorder", b"little"),
        ("m/data/0", storage),
        ("m/version", b"3\n"),
    ];
    zip(&members, false, 1980)
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut len = content.len();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend(content);
    bytes
}

fn model(initialiser: &[u8], producer: &str, operator: &str) -> Vec<u8> {
    let node = [
        field(1, b"x"),
        field(2, b"y"),
        field(3, b"n"),
        field(4, operator.as_bytes()),
        field(6, producer.as_bytes()),
    ]
    .concat();
    let graph = [
        field(1, &node),
        field(2, b"g"),
        field(5, initialiser),
        field(10, producer.as_bytes()),
    ]
    .concat();
    [
        vec![1 << 3, 8],
        field(2, producer.as_bytes()),
        field(7, &graph),
    ]
    .concat()
}

/// A model with one node and one initialiser `w` of two singles, stored raw or typed.
pub(super) fn onnx(values: &[u8], raw: bool, producer: &str, operator: &str) -> Vec<u8> {
    let data = if raw {
        field(9, values)
    } else {
        field(4, values)
    };
    let tensor = [vec![1 << 3, 2, 2 << 3, 1], field(8, b"w"), data].concat();
    model(&tensor, producer, operator)
}

/// The same with its data beside it.
pub(super) fn onnx_external(location: &str) -> Vec<u8> {
    let entry = |key: &str, value: &str| {
        field(
            13,
            &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat(),
        )
    };
    let tensor = [
        vec![1 << 3, 2, 2 << 3, 1],
        field(8, b"w"),
        entry("location", location),
        entry("offset", "0"),
        entry("length", "8"),
        vec![14 << 3, 1],
    ]
    .concat();
    model(&tensor, "p", "Relu")
}

/// A file with one key, one tensor `f` of 32 singles and one block `q` of q4_0.
pub(super) fn gguf(architecture: &str, values: &[u8], block: u8) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let info = |name: &str, kind: u32, offset: u64| {
        [
            text(name),
            1_u32.to_le_bytes().to_vec(),
            32_u64.to_le_bytes().to_vec(),
            kind.to_le_bytes().to_vec(),
            offset.to_le_bytes().to_vec(),
        ]
        .concat()
    };
    let mut file = [
        b"GGUF".to_vec(),
        3_u32.to_le_bytes().to_vec(),
        2_u64.to_le_bytes().to_vec(),
        2_u64.to_le_bytes().to_vec(),
        text("general.architecture"),
        8_u32.to_le_bytes().to_vec(),
        text(architecture),
        text("tokens"),
        9_u32.to_le_bytes().to_vec(),
        8_u32.to_le_bytes().to_vec(),
        2_u64.to_le_bytes().to_vec(),
        text("a"),
        text("b"),
        info("f", 0, 0),
        info("q", 2, 128),
    ]
    .concat();
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(values);
    file.extend([block; 18]);
    file
}

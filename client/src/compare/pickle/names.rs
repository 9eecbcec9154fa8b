//! Names that pickles may call: those that hold data, and those that run code.
//!
//! Owns both lists. What stands in neither is refused, and is no danger by its name alone: every library has classes.

/// What a model file may name. Nothing of it does more than hold data.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("collections", &["OrderedDict", "defaultdict"]),
    (
        "torch._utils",
        &[
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
            "_rebuild_parameter",
        ],
    ),
    ("torch._tensor", &["_rebuild_from_type_v2"]),
    ("torch.nn.parameter", &["Parameter"]),
    ("torch.storage", &["UntypedStorage", "TypedStorage"]),
    ("torch.serialization", &["_get_layout"]),
    ("_codecs", &["encode"]),
    (
        "builtins",
        &["set", "frozenset", "complex", "bytearray", "slice", "range"],
    ),
    (
        "__builtin__",
        &[
            "set",
            "frozenset",
            "complex",
            "bytearray",
            "slice",
            "xrange",
        ],
    ),
];

/// Names in `torch` itself: storages, types, sizes.
fn is_torch_data(name: &str) -> bool {
    const TYPES: [&str; 22] = [
        "Size",
        "device",
        "dtype",
        "Tensor",
        "float16",
        "bfloat16",
        "float32",
        "float64",
        "half",
        "float",
        "double",
        "int8",
        "uint8",
        "int16",
        "int32",
        "int64",
        "uint16",
        "uint32",
        "uint64",
        "bool",
        "complex64",
        "complex128",
    ];
    TYPES.contains(&name) || super::super::torch::storage_element(name).is_some()
}

pub(super) fn is_allowed(module: &str, name: &str) -> bool {
    (module == "torch" && is_torch_data(name))
        || ALLOWED
            .iter()
            .any(|(known, names)| *known == module && names.contains(&name))
}

/// Modules whose functions run code, start processes, or open what should stay closed.
const DANGEROUS: [&str; 28] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "builtins",
    "__builtin__",
    "shutil",
    "socket",
    "runpy",
    "importlib",
    "ctypes",
    "pickle",
    "_pickle",
    "marshal",
    "operator",
    "code",
    "pty",
    "types",
    "functools",
    "webbrowser",
    "requests",
    "urllib",
    "pip",
    "asyncio",
    "multiprocessing",
    // What Python 3 takes for subprocess and pickle where a pickle is as old as these names.
    "commands",
    "cPickle",
];

/// The module of a name that a pickle makes only when it is loaded: it may be any.
pub(super) const COMPUTED: &str = "(computed)";

/// Whether calling a name may run anything. A name with points leads through what its module has imported: `logging` has
/// `os.system`, and `tempfile` the same as `_os.system`.
pub(in crate::compare) fn is_dangerous(module: &str, name: &str) -> bool {
    let root = module.split('.').next().unwrap_or_default();
    let through = name.rsplit_once('.').map_or("", |(through, _)| through);
    let mut through = through.split('.').map(|part| part.trim_start_matches('_'));
    DANGEROUS.contains(&root)
        || through.any(|part| DANGEROUS.contains(&part))
        || module == COMPUTED
        || module == "torch.hub"
        || module.starts_with("numpy.testing")
}

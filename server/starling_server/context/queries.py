"""What a grammar calls a definition and an import: one tree-sitter query for each language.

Captures: `function`, `class` or `constant` is the whole definition, `name` its name, `body` what its signature ends
before; `import` is a whole import statement. The grammars' own `TAGS_QUERY` lack bodies, imports and, in most
languages, constants; C# ships none.
"""

_JAVASCRIPT = """
(function_declaration name: (_) @name body: (_) @body) @function
(generator_function_declaration name: (_) @name body: (_) @body) @function
(method_definition name: (_) @name body: (_) @body) @function
(class_declaration name: (_) @name body: (_) @body) @class
(program (lexical_declaration (variable_declarator name: (identifier) @name
  value: (arrow_function body: (_) @body))) @function)
(export_statement (lexical_declaration (variable_declarator name: (identifier) @name
  value: (arrow_function body: (_) @body))) @function)
(program (lexical_declaration (variable_declarator name: (identifier) @name)) @constant)
(export_statement (lexical_declaration (variable_declarator name: (identifier) @name)) @constant)
(import_statement) @import
"""
_C = """
(function_definition declarator: (_) @named body: (_) @body) @function
(struct_specifier name: (_) @name body: (_) @body) @class
(union_specifier name: (_) @name body: (_) @body) @class
(enum_specifier name: (_) @name body: (_) @body) @class
(type_definition declarator: (type_identifier) @name) @class
(preproc_def name: (_) @name) @constant
(preproc_function_def name: (_) @name value: (_)? @body) @function
(translation_unit (declaration declarator: (function_declarator declarator: (identifier) @name)) @function)
(preproc_include) @import
"""
QUERIES = {
    "C": _C,
    "C#": """
(method_declaration name: (_) @name body: (_)? @body) @function
(constructor_declaration name: (_) @name body: (_)? @body) @function
(property_declaration name: (_) @name) @constant
(class_declaration name: (_) @name body: (_)? @body) @class
(interface_declaration name: (_) @name body: (_)? @body) @class
(struct_declaration name: (_) @name body: (_)? @body) @class
(record_declaration name: (_) @name body: (_)? @body) @class
(enum_declaration name: (_) @name body: (_)? @body) @class
(using_directive) @import
""",
    "C++": _C
    + """
(class_specifier name: (_) @name body: (_) @body) @class
(field_declaration declarator: (function_declarator declarator: (field_identifier) @name)) @function
(using_declaration) @import
""",
    "Go": """
(function_declaration name: (_) @name body: (_)? @body) @function
(method_declaration name: (_) @name body: (_)? @body) @function
(type_declaration (type_spec name: (_) @name type: (_) @body)) @class
(const_spec name: (_) @name) @constant
(import_declaration) @import
""",
    "Java": """
(method_declaration name: (_) @name body: (_)? @body) @function
(constructor_declaration name: (_) @name body: (_) @body) @function
(class_declaration name: (_) @name body: (_) @body) @class
(interface_declaration name: (_) @name body: (_) @body) @class
(enum_declaration name: (_) @name body: (_) @body) @class
(record_declaration name: (_) @name body: (_) @body) @class
(field_declaration declarator: (variable_declarator name: (_) @name)) @constant
(import_declaration) @import
""",
    "JavaScript": _JAVASCRIPT,
    "PHP": """
(function_definition name: (_) @name body: (_) @body) @function
(method_declaration name: (_) @name body: (_)? @body) @function
(class_declaration name: (_) @name body: (_) @body) @class
(interface_declaration name: (_) @name body: (_) @body) @class
(trait_declaration name: (_) @name body: (_) @body) @class
(enum_declaration name: (_) @name body: (_) @body) @class
(const_declaration (const_element (name) @name)) @constant
(namespace_use_declaration) @import
""",
    "Python": """
(function_definition name: (_) @name body: (_) @body) @function
(class_definition name: (_) @name body: (_) @body) @class
(module (expression_statement (assignment left: (identifier) @name)) @constant)
(import_statement) @import
(import_from_statement) @import
""",
    "Ruby": """
(method name: (_) @name body: (_)? @body) @function
(singleton_method name: (_) @name body: (_)? @body) @function
(class name: (_) @name body: (_)? @body) @class
(module name: (_) @name body: (_)? @body) @class
(assignment left: (constant) @name) @constant
((call method: (identifier) @called) @import (#any-of? @called "require" "require_relative"))
""",
    "Rust": """
(function_item name: (_) @name body: (_) @body) @function
(function_signature_item name: (_) @name) @function
(struct_item name: (_) @name body: (_)? @body) @class
(enum_item name: (_) @name body: (_) @body) @class
(trait_item name: (_) @name body: (_) @body) @class
(type_item name: (_) @name) @class
(macro_definition name: (_) @name) @function
(const_item name: (_) @name) @constant
(static_item name: (_) @name) @constant
(use_declaration) @import
""",
    "TypeScript": _JAVASCRIPT
    + """
(abstract_class_declaration name: (_) @name body: (_) @body) @class
(interface_declaration name: (_) @name body: (_) @body) @class
(enum_declaration name: (_) @name body: (_) @body) @class
(type_alias_declaration name: (_) @name) @class
(method_signature name: (_) @name) @function
(abstract_method_signature name: (_) @name) @function
""",
}
"""By the names of `postprocess.syntax.GRAMMARS`."""

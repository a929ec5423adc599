//! The tree of the `cel` crate's parser made ours: only what exists here, macros as what they were, places in bytes.

use super::{
    CheckError,
    function::{self, Function},
    guard,
};
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr as Cel, IdedExpr, LiteralValue, SelectExpr, SourceInfo,
    operators as op,
};
use std::{cell::RefCell, collections::BTreeMap, collections::BTreeSet, rc::Rc};

/// A part of an expression, and where it is written.
#[derive(Debug)]
pub(super) struct Tree {
    pub start: usize,
    pub end: usize,
    pub node: Node,
}

#[derive(Debug)]
pub(super) enum Node {
    Null,
    Boolean(bool),
    Whole(i64),
    Float(f64),
    Text(Rc<str>),
    Name(String),
    /// `operand.field`
    Field(Box<Tree>, String),
    /// `has(operand.field)`
    Has(Box<Tree>, String),
    Index(Box<Tree>, Box<Tree>),
    List(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
    Not(Box<Tree>),
    Negate(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
    /// `condition ? then : otherwise`
    Choose(Box<[Tree; 3]>),
    Binary(Operator, Box<Tree>, Box<Tree>),
    /// The target is the first argument.
    Call(&'static Function, Vec<Tree>),
    Macro(Box<Macro>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl Operator {
    pub fn sign(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Remainder => "%",
            Operator::Equal => "==",
            Operator::Unequal => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::In => "in",
        }
    }
}

#[derive(Debug)]
pub(super) struct Macro {
    pub range: Tree,
    pub variable: String,
    pub kind: MacroKind,
}

#[derive(Debug)]
pub(super) enum MacroKind {
    All(Tree),
    Exists(Tree),
    ExistsOne(Tree),
    /// `filter(x, p)`, `map(x, t)` and `map(x, p, t)`.
    Collect {
        when: Option<Tree>,
        transform: Option<Tree>,
    },
}

/// How many parsed texts a thread remembers: parsing costs a hundred times what evaluating does.
const REMEMBERED: usize = 2_000;

thread_local! {
    static PARSED: RefCell<BTreeMap<String, Rc<Tree>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Parses a text that [`guard::pass`] lets through.
pub(super) fn parse(text: &str) -> Result<Rc<Tree>, CheckError> {
    if let Some(tree) = PARSED.with_borrow(|parsed| parsed.get(text).cloned()) {
        return Ok(tree);
    }
    guard::pass(text)?;
    let parser = cel::parser::Parser::new().max_recursion_depth(guard::TREE_DEPTH as u16);
    let (root, places) = parser.parse_with_source_info(text).map_err(|errors| syntax_error(text, &errors))?;
    let tree = Rc::new(Reader { text, places }.tree(root)?);
    PARSED.with_borrow_mut(|parsed| {
        if parsed.len() >= REMEMBERED {
            parsed.clear();
        }
        parsed.insert(text.to_owned(), Rc::clone(&tree));
    });
    Ok(tree)
}

/// The first error of the parser, in our words: its own name its grammar's tokens.
fn syntax_error(text: &str, errors: &cel::ParseErrors) -> CheckError {
    let Some(first) = errors.errors.first() else {
        return guard::error(0, text.len(), "the expression cannot be read");
    };
    let offset = offset_of(text, first.pos);
    let rest = &text[offset..];
    let token: usize = match rest.chars().next() {
        None => 0,
        Some(c) if c.is_alphanumeric() || c == '_' => {
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
        }
        Some(c) => c.len_utf8(),
    };
    if let Some(word) = first.msg.strip_prefix("reserved identifier: ") {
        return guard::error(offset, word.len(), format!("`{word}` is a reserved word")).help("give it another name");
    }
    if first.msg.contains("argument must be a simple name") {
        return guard::error(offset, token, "the first argument must be a new name")
            .help("such as: list.map(item, item + 1)");
    }
    if first.msg.contains("has() macro") {
        return guard::error(offset, token, "has() takes a field").help("such as: has(extract.rows)");
    }
    if first.msg.starts_with("Syntax error") || first.msg.contains("Incomplete") || first.msg.contains("No `") {
        return match rest.trim().is_empty() {
            true => guard::error(text.trim_end().len(), 1, "the expression ends too early"),
            false => guard::error(offset, token, format!("unexpected `{}`", &rest[..token])),
        };
    }
    guard::error(offset, token, first.msg.chars().take(200).collect::<String>())
}

/// Line and column from 1, in characters.
fn offset_of(text: &str, (line, column): (isize, isize)) -> usize {
    let line_index = usize::try_from(line - 1).unwrap_or(0);
    let start: usize = text.split_inclusive('\n').take(line_index).map(str::len).sum();
    let column = usize::try_from(column - 1).unwrap_or(0);
    let rest = text.get(start..).unwrap_or("");
    start + rest.char_indices().nth(column).map_or(rest.len(), |(i, _)| i)
}

struct Reader<'a> {
    text: &'a str,
    places: SourceInfo,
}

impl Reader<'_> {
    /// Of the token that the parser keeps for a node.
    fn token(&self, id: u64) -> (usize, usize) {
        let (start, last) = self.places.offset_for(id).unwrap_or((0, 0));
        let start = self.floor(start as usize);
        let last = self.floor(last as usize);
        let end = last + self.text[last..].chars().next().map_or(0, char::len_utf8);
        (start, end.max(start))
    }

    fn floor(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// The function name before an opening bracket.
    fn name_before(&self, bracket: usize) -> (usize, usize) {
        let end = self.text[..bracket].trim_end().len();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (self.text[..end].trim_end_matches(is_word).len(), end)
    }

    fn boxed(&self, cel: IdedExpr) -> Result<Box<Tree>, CheckError> {
        self.tree(cel).map(Box::new)
    }

    fn all(&self, cel: Vec<IdedExpr>) -> Result<Vec<Tree>, CheckError> {
        cel.into_iter().map(|e| self.tree(e)).collect()
    }

    fn tree(&self, cel: IdedExpr) -> Result<Tree, CheckError> {
        let (start, end) = self.token(cel.id);
        let leaf = |node| Ok(Tree { start, end, node });
        match cel.expr {
            Cel::Literal(literal) => self.literal(literal, start, end),
            Cel::Ident(name) if name.starts_with('.') => Err(guard::error(start, 1, "a name begins with no dot")),
            Cel::Ident(name) => leaf(Node::Name(name)),
            Cel::Select(select) => self.select(select, start),
            Cel::List(list) => {
                let elements = self.all(list.elements)?;
                let end = elements.last().map_or(end, |e| e.end);
                Ok(Tree { start, end, node: Node::List(elements) })
            }
            Cel::Map(map) => {
                let mut entries = Vec::new();
                for entry in map.entries {
                    if let EntryExpr::MapEntry(entry) = entry.expr {
                        entries.push((self.tree(entry.key)?, self.tree(entry.value)?));
                    }
                }
                let end = entries.last().map_or(end, |(_, v)| v.end);
                Ok(Tree { start, end, node: Node::Map(entries) })
            }
            Cel::Call(call) => self.call(call, start, end),
            Cel::Comprehension(comprehension) => {
                let at = self.name_before(start);
                self.comprehension(*comprehension, at)
            }
            Cel::Struct(s) => {
                Err(guard::error(start, 1, format!("`{} {{ }}`: there are no messages here", s.type_name)))
            }
            Cel::Unspecified => Err(guard::error(start, end - start, "the expression cannot be read")),
        }
    }

    fn literal(&self, literal: LiteralValue, start: usize, end: usize) -> Result<Tree, CheckError> {
        let node = match literal {
            LiteralValue::Null => Node::Null,
            LiteralValue::Boolean(b) => Node::Boolean(b.into_inner()),
            LiteralValue::Int(n) => Node::Whole(n.into_inner()),
            LiteralValue::Double(n) => Node::Float(n.into_inner()),
            LiteralValue::String(s) => Node::Text(s.inner().into()),
            LiteralValue::UInt(_) => {
                return Err(guard::error(start, end - start, "unsigned numbers are not known").help("leave out the u"));
            }
            LiteralValue::Bytes(_) => return Err(guard::error(start, end - start, "bytes are not known")),
        };
        Ok(Tree { start, end, node })
    }

    fn select(&self, select: SelectExpr, token: usize) -> Result<Tree, CheckError> {
        let operand = self.boxed(*select.operand)?;
        // Of `has(a.b)` the parser keeps the bracket, of `a.b` the dot.
        let from = self.text[operand.end..].find(&select.field).map_or(token, |n| operand.end + n);
        let end = (from + select.field.len()).max(operand.end);
        let start = operand.start;
        let node = match select.test {
            true => Node::Has(operand, select.field),
            false => Node::Field(operand, select.field),
        };
        Ok(Tree { start, end, node })
    }

    fn call(&self, call: CallExpr, start: usize, end: usize) -> Result<Tree, CheckError> {
        let name = call.func_name.as_str();
        let operator = match name {
            op::ADD => Some(Operator::Add),
            op::SUBSTRACT => Some(Operator::Subtract),
            op::MULTIPLY => Some(Operator::Multiply),
            op::DIVIDE => Some(Operator::Divide),
            op::MODULO => Some(Operator::Remainder),
            op::EQUALS => Some(Operator::Equal),
            op::NOT_EQUALS => Some(Operator::Unequal),
            op::LESS => Some(Operator::Less),
            op::LESS_EQUALS => Some(Operator::LessOrEqual),
            op::GREATER => Some(Operator::Greater),
            op::GREATER_EQUALS => Some(Operator::GreaterOrEqual),
            op::IN => Some(Operator::In),
            _ => None,
        };
        let mut arguments = call.target.map(|t| self.tree(*t)).transpose()?.into_iter().collect::<Vec<_>>();
        let receiver = !arguments.is_empty();
        arguments.extend(self.all(call.args)?);
        let boxes = |arguments: Vec<Tree>| <[Tree; 2]>::try_from(arguments).map(|[a, b]| (Box::new(a), Box::new(b)));
        let from = arguments.first().map_or(start, |a| a.start.min(start));
        let to = arguments.last().map_or(end, |a| a.end.max(end));
        let built = |node| Ok(Tree { start: from, end: to, node });
        let broken = || guard::error(start, end - start, "the expression cannot be read");
        match (operator, name) {
            (Some(operator), _) => {
                let (a, b) = boxes(arguments).map_err(|_| broken())?;
                built(Node::Binary(operator, a, b))
            }
            (None, op::LOGICAL_AND) => boxes(arguments).map_err(|_| broken()).and_then(|(a, b)| built(Node::And(a, b))),
            (None, op::LOGICAL_OR) => boxes(arguments).map_err(|_| broken()).and_then(|(a, b)| built(Node::Or(a, b))),
            (None, op::INDEX) => boxes(arguments).map_err(|_| broken()).and_then(|(a, b)| built(Node::Index(a, b))),
            (None, op::LOGICAL_NOT | op::NEGATE) => {
                let operand = Box::new(arguments.pop().ok_or_else(broken)?);
                built(if name == op::NEGATE { Node::Negate(operand) } else { Node::Not(operand) })
            }
            (None, op::CONDITIONAL) => {
                let parts = <[Tree; 3]>::try_from(arguments).map_err(|_| broken())?;
                built(Node::Choose(Box::new(parts)))
            }
            (None, name) => {
                let (start, end) = self.name_before(start);
                let function = function::find(name, receiver, arguments.len()).map_err(|(message, help)| {
                    CheckError { offset: start, length: (end - start).max(1), message, help }
                })?;
                Ok(Tree { start, end, node: Node::Call(function, arguments) })
            }
        }
    }

    /// Macros are expanded by the parser; what each was shows in its step.
    fn comprehension(&self, c: ComprehensionExpr, (start, end): (usize, usize)) -> Result<Tree, CheckError> {
        let broken = || guard::error(start, end - start, "this macro is not known");
        let Cel::Call(mut step) = c.loop_step.expr else { return Err(broken()) };
        let is_collect = matches!(c.accu_init.expr, Cel::List(_));
        let kind = match (step.func_name.as_str(), step.args.len()) {
            (op::LOGICAL_AND, 2) => MacroKind::All(self.tree(step.args.remove(1))?),
            (op::LOGICAL_OR, 2) => MacroKind::Exists(self.tree(step.args.remove(1))?),
            (op::CONDITIONAL, 3) if !is_collect => MacroKind::ExistsOne(self.tree(step.args.remove(0))?),
            (op::CONDITIONAL, 3) => {
                let transform = self.transform(step.args.remove(1), &c.iter_var).ok_or_else(broken)??;
                MacroKind::Collect { when: Some(self.tree(step.args.remove(0))?), transform }
            }
            (op::ADD, 2) => {
                let step = IdedExpr { id: c.loop_step.id, expr: Cel::Call(step) };
                MacroKind::Collect { when: None, transform: self.transform(step, &c.iter_var).ok_or_else(broken)?? }
            }
            _ => return Err(broken()),
        };
        let node = Node::Macro(Box::new(Macro { range: self.tree(c.iter_range)?, variable: c.iter_var, kind }));
        Ok(Tree { start, end, node })
    }

    /// t of `@result + [t]`; nothing where it is the variable itself.
    fn transform(&self, step: IdedExpr, variable: &str) -> Option<Result<Option<Tree>, CheckError>> {
        let Cel::Call(mut call) = step.expr else { return None };
        let Cel::List(mut list) = call.args.pop()?.expr else { return None };
        let transform = list.elements.pop()?;
        match &transform.expr {
            Cel::Ident(name) if name == variable => Some(Ok(None)),
            _ => Some(self.tree(transform).map(Some)),
        }
    }
}

impl Tree {
    /// The first parts of all names, also of the variables of macros.
    pub fn collect_names(&self, names: &mut BTreeSet<String>) {
        if let Node::Name(name) = &self.node {
            names.insert(name.clone());
        }
        self.children().into_iter().for_each(|child| child.collect_names(names));
    }

    fn children(&self) -> Vec<&Tree> {
        match &self.node {
            Node::Null | Node::Boolean(_) | Node::Whole(_) | Node::Float(_) | Node::Text(_) | Node::Name(_) => vec![],
            Node::Field(a, _) | Node::Has(a, _) | Node::Not(a) | Node::Negate(a) => vec![a],
            Node::Index(a, b) | Node::And(a, b) | Node::Or(a, b) | Node::Binary(_, a, b) => vec![a, b],
            Node::List(items) | Node::Call(_, items) => items.iter().collect(),
            Node::Map(entries) => entries.iter().flat_map(|(k, v)| [k, v]).collect(),
            Node::Choose(parts) => parts.iter().collect(),
            Node::Macro(m) => {
                let mut all = vec![&m.range];
                match &m.kind {
                    MacroKind::All(p) | MacroKind::Exists(p) | MacroKind::ExistsOne(p) => all.push(p),
                    MacroKind::Collect { when, transform } => all.extend(when.iter().chain(transform)),
                }
                all
            }
        }
    }
}

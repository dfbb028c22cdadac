"""Texts that parsers are tried with: a few characters over and over, as no person writes them.

Run with a number, it parses so many of them and prints the worst seconds of processor time and the most bytes.
"""

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import psutil

from starling_server.postprocess.parser_client import client
from starling_server.postprocess.syntax import GRAMMARS, parse

KNOWN = [
    ("Java", "a=>"), ("C", "%w(%q(%Q("), ("C", "%q("), ("C#", "%w(%q(%Q("), ("C#", "while(a)"), ("C", "int a=(a)"),
    ("Ruby", "%w(%q(%Q("), ("Ruby", "-!~"), ("Ruby", "!~é"), ("C#", "else{"), ("C", "%i["), ("C", "%r{"),
]  # fmt: skip
"""Fragments that took seconds or all memory."""
FRAGMENTS = r"""
( [ { < ) ] } > (( [[ {{ << >> ([ [( {( ({ [{ ({[ ()( ()[ ){ ]( }{ )( )] <> =>
a=> a=>a (a)=> ()=> ()=>{ a=>( a=>[ a=>{ ->a -> a->b ->( |a| |a|a || && a? a?b: a?b:c ? ?: ?. ?? a?? :: a:: a::b:: ::<
a::<b<
+ - ! ~ * & ** // -!~ !~- ++ -- +a -a !a *a &a a+ a- a* a. a.b. a[ a[0] a( a(b, a<b a<b< a<b, A<B<C< a<b> List<List<
Map<K, f<g<h<( a<<b a=b= a:b: a, a; ;
" ' ` "a "a" 'a 'a' `a` `${ `${a "#{ "#{a} "\ '\ \"\"\" ''' f" f"{ f"{a} f'{a!r} r#" r#"a" r##" R"( R"a( @" $@" $"{
$"{a} $\"\"\" @"a""
%w( %q( %Q( %w(%q(%Q( %i[ %{ %r{ %x( <<A <<~A <<-A <<A\n <<A\na\nA\n <<<A <<<A\n <<<'A'\n
/* /** // # -- <!-- --> /*a*/ //a\n #a\n /a /a/ /[ /(
#if\n #ifdef_A\n #if_1\n#else\n #endif\n #define_a\n #define_a(b)_\\\n #include_<a\n #region\n #pragma\n
#!
if if( if(a) if(a){ if_a: if_a\n if_a_then\n else else_if else{ elif_a: for( for(;; for(;;){ for_a_in while(
while(a) while_a: do do{ do_|a| switch(a){ case case_a: case_a: default: try{ try: catch( catch(e){ except: finally{
with_a: match_a{ match_a: when when_a return return( throw new new_A new_A( new_A(){ await async async_()=> yield not
not_ lambda lambda: lambda_a: lambda_a, def_f def_f( def_f(a): def_f\n fn_a( fn_a(){ |x| |x|{ move_|| func_a( func(){
func(a_ function( function(){ function*_f(){ function_f( class class_A class_A{ class_A< class_A: class_A\n
class_A(B): struct_A{ enum_A{ interface_A{ namespace_A{ module_A\n trait_A{ impl impl<T> impl_A_for template<class_T>
template< union_A{ typedef typedef_struct{ extern_"C"{ static const const_a= let let_a= var var_a= int int_a int_a(
int_a=(a) int* int(* int(*a[ (int)( (a)( (a)(b) (A<B>) goto a: unsafe{ where where_T: dyn_A+ &mut &'a 'a: <'a, for<'a>
as as_A is typeof keyof infer extends a_extends_b?c: readonly declare abstract public static_class public_class_A{ @A
@A( @A(b=@ #[a] #[a( [A] [A( $a $$ ${ {$a} $a-> $a[ <?php <?= ?> ?><?php <a> <a <a/> <a>{ </a> <a_b={ <a_b={<a <> </>
</a><a> using using_A= import import( import_a, from_a_import import{ package begin begin\n rescue\n ensure\n end
end\n BEGIN{ __END__\n =begin\n unless_a\n until_a\n alias undef_a, super. self. a.b( a&.b( a.b{ a.b_do\n ->(a){
->{ :a :"a :"#{ a: {a: {a:1, {"a": [a, [a [*a **a *a, &a, a=>b, a..b a.. ... ..= ... a...b _ __ \ \\\n @ @@ $ ` ^
% a% %= == === != <= <=> =~ !~ |> <- a<- chan<- <-a chan chan_ map[a] map[ []a []a{ [...]a{ interface{ struct{ select{
go_ defer_ a:=b a:=func(){ goto_a; asm( __attribute__(( alignas( decltype( noexcept( sizeof( sizeof concept_a=
requires requires( requires{ co_await co_yield operator operator( operator< ~A( A:: A::~ virtual friend 0x 1. 1.. 1e
1_ 1' 'ab' u8" L' \u \u{ é 漢 😀 \0 \t \r \r\n \n \n\n \n_ \n__a\n \t\n a\n a\n\tb\n\t\tc\n a:\n_
if_a:\n_b\n
"""
"""With `_` for a blank and escapes for what is not to be seen; most are in some language's grammar, none in all."""
ESCAPES = {'\\"': '"', "_": " ", "\\n": "\n", "\\t": "\t", "\\r": "\r", "\\0": "\0"}
SIZE = 50_000
"""Bytes; serving parses 25,000 characters."""


def fragments() -> list[str]:
    """Each of them, as it stands in a text."""
    found = list[str]()
    for spelt in FRAGMENTS.split():
        said = spelt
        for escape, meant in ESCAPES.items():
            said = said.replace(escape, meant)
        found.append(said)
    return list(dict.fromkeys(found))


def texts(seed: int) -> Iterator[tuple[str, str]]:
    """Language and text without end: the known ones, each fragment in each language, and two or three together."""
    random, single = Random(seed), fragments()
    pairs = [(language, each) for language in GRAMMARS for each in single]
    random.shuffle(pairs)
    for language, fragment in (*KNOWN, *pairs):
        yield language, _repeated(fragment)
    while True:
        together = "".join(random.choices(single, k=random.choice((2, 2, 3))))
        yield random.choice(list(GRAMMARS)), _repeated(together)


def _repeated(fragment: str) -> str:
    return fragment * (SIZE // len(fragment.encode()))


def main(count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    worst, refused = (0.0, "", ""), 0
    for _, (language, text) in zip(range(count), texts(seed=1), strict=False):
        before = _seconds()
        syntax = parse(text, language)
        taken = _seconds() - before
        worst = max(worst, (taken, language, text[:20]))
        refused += syntax is None
        if syntax is not None:
            syntax.kinds(len(text) - 1)
    client("suggestions").close()
    most = max(_highest(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    json.dump({"seconds": worst, "bytes": most * 1024, "refused": refused, "texts": count}, sys.stdout)


def _seconds() -> float:
    """Of processor time, by this process and what it started."""
    own = psutil.Process()
    living = [process.cpu_times() for process in own.children()]
    ended = own.cpu_times()
    return sum(each.user + each.system for each in (*living, ended)) + ended.children_user + ended.children_system


def _highest() -> int:
    """Most KiB that this process has had; `ru_maxrss` would count those of who started it."""
    said = Path("/proc/self/status").read_text(encoding="ascii")
    return int(said.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main(int(sys.argv[1]))

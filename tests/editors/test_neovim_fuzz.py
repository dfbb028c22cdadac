"""Random edits in Neovim, and after each batch the real language server's copy against the buffer.

STARLING_FUZZ_EDITS says how many edits; the default keeps the run short.
"""

import os
import sys
from pathlib import Path

import pytest
from editors.neovim import Start

EDITS, BATCH = int(os.environ.get("STARLING_FUZZ_EDITS", "2000")), 40

FUZZ = r"""
local seed, edits, batch, crs = ...
math.randomseed(seed)
local pieces = { 'a', 'word ', '\n', '\f', '\v', '\226\128\168', '\194\133', 'é', '中文', '😀', '\t', '}', '' }
table.insert(pieces, crs and '\r' or 'b')
local client = vim.lsp.get_clients({ name = 'starling', bufnr = 0 })[1]
local eol = vim.bo.fileformat == 'dos' and '\r\n' or '\n'

local function place()
  local row = math.random(0, vim.api.nvim_buf_line_count(0) - 1)
  local line = vim.api.nvim_buf_get_lines(0, row, row + 1, false)[1]
  local characters = vim.fn.strchars(line)
  return { row, vim.str_byteindex(line, 'utf-32', math.random(0, characters)) }
end

local function text()
  local new = {}
  for _ = 1, math.random(0, 6) do
    new[#new + 1] = pieces[math.random(#pieces)]
  end
  return table.concat(new)
end

local acts = {
  function()
    local a, b = place(), place()
    if a[1] > b[1] or (a[1] == b[1] and a[2] > b[2]) then
      a, b = b, a
    end
    if vim.api.nvim_buf_line_count(0) < 30 then
      b = a
    end
    vim.api.nvim_buf_set_text(0, a[1], a[2], b[1], b[2], vim.split(text(), '\n'))
  end,
  function() vim.cmd('silent! undo') end,
  function() vim.cmd('silent! redo') end,
  function()
    local at = place()
    vim.api.nvim_win_set_cursor(0, { at[1] + 1, at[2] })
    local keys = ({ 'dd', 'yyp', 'J', '>>', 'x', 'D', 'ddP', 'o', 'g~~' })[math.random(9)]
    vim.cmd('silent! normal! ' .. keys)
  end,
  function() vim.cmd([[silent! %s/a/é😀/e]]) end,
}

local different = 0
for n = 1, edits do
  local which = math.random(100)
  acts[which <= 70 and 1 or which <= 76 and 2 or which <= 82 and 3 or which <= 99 and 4 or 5]()
  if n % batch == 0 then
    local lines = table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), eol) .. (vim.bo.eol and eol or '')
    local answer = client:request_sync('starling/checksum', { uri = vim.uri_from_bufnr(0) }, 20000)
    if not answer or answer.result ~= vim.fn.sha256(lines) then
      different = different + 1
    end
    if #lines > 6000 then
      vim.api.nvim_buf_set_lines(0, 0, -1, false, { 'anew' })
    end
  end
end
return different
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "dos"])
def test_edits_in_neovim(start: Start, tmp_path: Path, end: str) -> None:
    file = tmp_path / "fuzz.py"
    file.write_bytes(f"one = 1{end}two = 2{end}".encode())
    editor = start([sys.executable, "-m", "starling_lsp"], server="http://127.0.0.1:9")
    editor.open(file)
    assert editor.nvim.current.buffer.options["fileformat"] == ("dos" if end == "\r\n" else "unix")
    for part in range(0, EDITS, BATCH * 10):
        assert editor.nvim.exec_lua(FUZZ, part, min(BATCH * 10, EDITS - part), BATCH, end == "\n") == 0, part

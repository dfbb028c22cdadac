-- Configuration of the client "starling", read by vim.lsp.config() and vim.lsp.enable().
-- It names no filetypes, so it serves every file.

---@type vim.lsp.Config
return {
  cmd = require('starling.options').command(),
  root_markers = { '.git', 'pyproject.toml' },
  -- Not for help, nor for the empty buffer that Neovim starts with: a model would be loaded for nothing.
  root_dir = function(buf, on_dir)
    if vim.bo[buf].buftype == '' and vim.api.nvim_buf_get_name(buf) ~= '' then
      on_dir() -- which leaves the search to root_markers
    end
  end,
  init_options = require('starling.options').init_options(),
  on_init = require('starling.restart').on_init,
  on_exit = require('starling.restart').on_exit,
  handlers = { ['starling/status'] = require('starling.status').on_notification },
}

---Starling in Neovim: ghost text from the language server `starling-lsp`.
local M = {}

---Sets options and starts the language server in this and every later ordinary file. Needed only to set options from
---Lua, or with vim.g.starling_auto_enable = false.
---@param options? starling.Options
function M.setup(options)
  local chosen = require('starling.options')
  chosen.set(options)
  vim.lsp.config('starling', { cmd = chosen.command(), init_options = chosen.init_options() })
  vim.lsp.enable('starling')
end

---Shows our client's suggestions in one buffer, unless they are switched off.
---@param client_id integer
---@param buf integer
function M.on_attach(client_id, buf)
  local client = vim.lsp.get_client_by_id(client_id)
  if client and client.name == 'starling' then
    require('starling.switch').apply(client, buf)
  end
end

---Forgets a client that left a buffer. Neovim 0.12 does not do it for clients that were enabled one by one, and then
---asks nobody for suggestions in that buffer any more: asking the one that left is an error.
---@param client_id integer
---@param buf integer
function M.on_detach(client_id, buf)
  local shown = require('starling.view').completor(buf)
  if not shown then
    return
  end
  shown:on_detach(client_id)
  if not next(shown.client_state) then
    shown:destroy()
  end
end

---Once an answer is in view, tells the server so.
---@param event vim.api.keyset.create_autocmd.callback_args
function M.on_request(event)
  local request = event.data.request
  if request.type == 'complete' and request.method == 'textDocument/inlineCompletion' then
    vim.schedule(function()
      require('starling.view').tell_shown(event.buf)
    end)
  end
end

---Tells our clients where the cursor rests outside insert mode, so that the first suggestion there comes sooner.
---@param buf integer
function M.on_rest(buf)
  if buf ~= vim.api.nvim_get_current_buf() or vim.api.nvim_get_mode().mode ~= 'n' then
    return
  end
  for _, client in ipairs(vim.lsp.get_clients({ name = 'starling', bufnr = buf })) do
    client:notify('starling/didMoveCursor', vim.lsp.util.make_position_params(0, client.offset_encoding))
  end
end

---For a mapping in insert mode: accepts the suggestion in view, or presses the keys of `opts.fallback`.
---@param opts? starling.accept.Opts
function M.accept(opts)
  require('starling.accept').accept(opts)
end

---For mappings in insert mode: shows the next suggestion, asking for others where there is only one.
function M.next()
  require('starling.view').cycle(1)
end

---Shows the suggestion before.
function M.prev()
  require('starling.view').cycle(-1)
end

---Asks for suggestions here, also with `trigger_mode = 'manual'`.
function M.trigger()
  require('starling.view').trigger()
end

---Hides the suggestion until something else is typed.
function M.dismiss()
  require('starling.view').dismiss()
end

---Turns suggestions off or on again, everywhere.
---@param buf? integer only there
---@return boolean on
function M.toggle(buf)
  return require('starling.switch').toggle(buf)
end

---@return string line for 'statusline', such as "starling: ready"; empty where Starling is not at work
function M.status()
  return require('starling.status').line()
end

return M

---What each language server last said about itself in `starling/status`.
local M = {}

---@class starling.Status
---@field kind 'loading'|'ready'|'busy'|'error'|'inactive'
---@field message? string one sentence for a person
---@field base? string
---@field adapter? string

---@type table<integer, starling.Status> by client id
local last = {}

---@type starling.Status? what the plugin itself has to say while there is no language server
local own

---@param status starling.Status
local function announce(status)
  vim.api.nvim_exec_autocmds('User', { pattern = 'StarlingStatus', modeline = false, data = status })
  vim.cmd.redrawstatus()
end

---Handler of the notification. Announces errors once, and every change as the autocommand `User StarlingStatus`.
---@param _ any
---@param status starling.Status
---@param ctx lsp.HandlerContext
function M.on_notification(_, status, ctx)
  last[ctx.client_id], own = status, nil
  if status.kind == 'error' then
    -- Short, or Neovim would make people wait for Enter in the middle of their typing.
    vim.notify_once('Starling has a problem: :StarlingStatus tells which.', vim.log.levels.ERROR)
  end
  announce(status)
end

---Notes what a language server that is gone can't say. Neovim itself reports the end; a second message would make it
---wait for Enter.
---@param kind 'error'
---@param message string
function M.note(kind, message)
  own = { kind = kind, message = message }
  announce(own)
end

---@param buf? integer default: the current one
---@return starling.Status? status nil without a client in the buffer
function M.get(buf)
  local client = vim.lsp.get_clients({ name = 'starling', bufnr = buf or 0 })[1]
  return client and (last[client.id] or { kind = 'loading' }) or own
end

---@return string line for 'statusline': empty without a client in the buffer
function M.line()
  local status = M.get()
  if not status then
    return ''
  end
  return 'starling: ' .. (require('starling.switch').is_on(vim.api.nvim_get_current_buf()) and status.kind or 'off')
end

---@return string sentence with everything known
function M.report()
  local status = M.get()
  if not status then
    return 'Starling: no language server in this buffer; see :checkhealth starling'
  end
  local parts = { 'Starling: ' .. status.kind }
  for _, name in ipairs({ 'base', 'adapter', 'message' }) do
    local value = status[name]
    if type(value) == 'string' and value ~= '' then
      parts[#parts + 1] = name == 'message' and value or name .. ' ' .. value
    end
  end
  return table.concat(parts, ', ')
end

return M

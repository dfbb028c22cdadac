---What is in view: cycling, asking by hand, dismissing, and telling the server what a person sees.
---
---Neovim 0.12 has no public way to ask for suggestions or to drop the one in view, so this goes to its own object for
---the buffer. All that the plugin needs of it is named in the class below.
local M = {}

local METHOD = 'textDocument/inlineCompletion'
local INVOKED = vim.lsp.protocol.InlineCompletionTriggerKind.Invoked

---@class starling.Completor
---@field bufnr integer
---@field current? vim.lsp.inline_completion.Item
---@field client_state table<integer, { items?: lsp.InlineCompletionItem[] }>
---@field count_items fun(self: starling.Completor): integer
---@field handler fun(self: starling.Completor, err: any, result: any, ctx: lsp.HandlerContext)
---@field abort fun(self: starling.Completor)
---@field reset_timer fun(self: starling.Completor)
---@field on_detach fun(self: starling.Completor, client_id: integer)
---@field destroy fun(self: starling.Completor)

---@param buf? integer default: the current one
---@return starling.Completor? nil where inline completion is off
function M.completor(buf)
  local all = vim.tbl_get(vim.lsp, '_capability', 'all', 'inline_completion', 'active')
  return all and all[buf or vim.api.nvim_get_current_buf()]
end

---Asks our servers for several suggestions here.
---@param completor starling.Completor
---@param after? fun() called when an answer is in view
local function ask(completor, after)
  completor:reset_timer()
  for _, client in ipairs(vim.lsp.get_clients({ name = 'starling', bufnr = completor.bufnr, method = METHOD })) do
    local params = vim.lsp.util.make_position_params(0, client.offset_encoding) --[[@as lsp.InlineCompletionParams]]
    params.context = { triggerKind = INVOKED }
    client:request(METHOD, params, function(err, result, ctx)
      if err or not completor.client_state[client.id] then
        return
      end
      completor:handler(err, result, ctx)
      if after then
        after()
      end
    end, completor.bufnr)
  end
end

---Asks for suggestions here, also with `trigger_mode = 'manual'`.
function M.trigger()
  local completor = M.completor()
  if completor then
    ask(completor)
  end
end

---Shows the next or an earlier suggestion; asks for others where there is only one.
---@param step integer 1 for the next, -1 for the one before
function M.cycle(step)
  local completor = M.completor()
  if not completor then
    return
  end
  local function go()
    vim.lsp.inline_completion.select({ count = step })
  end
  if completor.current and completor:count_items() > 1 then
    go()
  else
    ask(completor, completor.current and go or nil)
  end
end

---Hides the suggestion until something else is typed.
function M.dismiss()
  local completor = M.completor()
  if completor then
    completor:abort()
  end
end

---@type string? what was told of last, by the id in its command
local told

---Tells the server once what is in view now, named as GitHub's server names it.
---@param buf integer
function M.tell_shown(buf)
  local completor = M.completor(buf)
  local item = completor and completor.current
  local meta = item and item.command and item.command.command == 'starling.accepted' and item.command.arguments[1]
  if not item or not meta or meta.id == told then
    return
  end
  told = meta.id
  local client = vim.lsp.get_client_by_id(item.client_id)
  if client then
    local shown = { insertText = item.insert_text, command = item.command }
    client:notify('textDocument/didShowCompletion', { item = shown })
  end
end

return M

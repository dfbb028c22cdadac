if vim.g.loaded_starling then
  return
end
vim.g.loaded_starling = true

if vim.fn.has('nvim-0.12') == 0 then
  vim.notify_once('Starling needs Neovim 0.12 or later.', vim.log.levels.WARN)
  return
end

local group = vim.api.nvim_create_augroup('starling', {})

vim.api.nvim_create_autocmd('LspAttach', {
  group = group,
  desc = 'Show what Starling suggests',
  callback = function(event)
    require('starling').on_attach(event.data.client_id, event.buf)
  end,
})

vim.api.nvim_create_autocmd('LspDetach', {
  group = group,
  desc = 'Forget what Starling suggested',
  callback = function(event)
    require('starling').on_detach(event.data.client_id, event.buf)
  end,
})

vim.api.nvim_create_autocmd({ 'BufEnter', 'CursorHold' }, {
  group = group,
  desc = 'Let Starling read ahead where the cursor rests',
  callback = function(event)
    require('starling').on_rest(event.buf)
  end,
})

vim.api.nvim_create_autocmd('LspRequest', {
  group = group,
  desc = 'Tell Starling what is in view',
  callback = function(event)
    require('starling').on_request(event)
  end,
})

---@param name string
---@param desc string
---@param act fun()
local function map(name, desc, act)
  vim.keymap.set('i', ('<Plug>(starling-%s)'):format(name), act, { desc = desc })
end

map('accept', 'Accept the suggestion', function()
  require('starling').accept()
end)
map('accept-word', 'Accept a word of the suggestion', function()
  require('starling').accept({ part = 'word' })
end)
map('accept-line', 'Accept a line of the suggestion', function()
  require('starling').accept({ part = 'line' })
end)
map('next', 'Show the next suggestion', function()
  require('starling').next()
end)
map('prev', 'Show the suggestion before', function()
  require('starling').prev()
end)
map('trigger', 'Ask for suggestions', function()
  require('starling').trigger()
end)
map('dismiss', 'Hide the suggestion', function()
  require('starling').dismiss()
end)

vim.api.nvim_create_user_command('StarlingStatus', function()
  vim.notify(require('starling.status').report())
end, { desc = 'Show what Starling is doing' })

vim.api.nvim_create_user_command('StarlingToggle', function(command)
  local on = require('starling').toggle(command.bang and vim.api.nvim_get_current_buf() or nil)
  vim.notify('Starling: ' .. (on and 'on' or 'off'))
end, { bang = true, desc = 'Turn suggestions off or on again, with ! in this buffer only' })

vim.api.nvim_create_user_command('StarlingLog', function()
  vim.cmd.tabedit(vim.fn.fnameescape(vim.lsp.log.get_filename()))
end, { desc = 'Open the log of the language server' })

if vim.g.starling_auto_enable == false then
  return
end

-- Not before a setup() that a plugin manager calls right after loading this file; and not while Neovim starts, where
-- the first file would be missed if it is open already.
local enable = vim.schedule_wrap(function()
  vim.lsp.enable('starling')
end)
if vim.v.vim_did_enter == 1 then
  enable()
else
  vim.api.nvim_create_autocmd('VimEnter', { group = group, once = true, callback = enable })
end
